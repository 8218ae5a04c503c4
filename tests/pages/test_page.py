"""The page of the pool, in a browser, while the service is under load."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import servers
from faults.load import load
from faults.project import OPS_TOKEN

from .browser import Tab
from .conftest import CAPACITY, CHECKOUTS, SIZE, WORKERS, Watched

ROWS = """
[...document.querySelectorAll("[data-rows=workers] tr, tfoot tr")].map((row) =>
  [...row.cells].map((cell) => +cell.textContent))
"""

# every text on the page that has another colour than its background in too little contrast
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = rgb(colour).map((c) =>
      c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
  };
  return [...document.querySelectorAll("main *")]
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .filter((e) => e.getClientRects().length)
    .map((e) => {
      const style = getComputedStyle(e);
      const colour = e.namespaceURI.endsWith("svg") ? style.fill : style.color;
      const pair = [light(colour), light(behind(e))].sort((a, b) => b - a);
      return [e.textContent.trim().slice(0, 40), (pair[0] + 0.05) / (pair[1] + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
})()
"""


def shown_workers(page: Tab) -> set[int]:
    """Give the process ids in the table of workers."""
    return {row[0] for row in page.script(ROWS)[:-1]}


def test_the_numbers_move_and_agree_with_the_server(
    service: Watched, page: Tab, tmp_path: Path
) -> None:
    """While eight requests hold a connection each the page, the pool and the server say eight."""
    enough = tmp_path / "enough"
    held = 8  # one worker could hold them all, and nobody knows how they are shared out
    with ThreadPoolExecutor(held) as threads:
        requests = [
            threads.submit(service.get, f"/hold?until={quote(str(enough))}") for _ in range(held)
        ]
        servers.wait_until(lambda: active(service) == held)
        servers.wait_until(lambda: page.number("checkedout") == held)
        servers.wait_until(
            lambda: page.number("checkedin") + page.number("checkedout") == service.connections()
        )
        *workers, totals = page.script(ROWS)
        enough.touch()
        answers = [request.result() for request in requests]

    assert {answer.status for answer in answers} == {200}
    assert totals[1:] == [sum(column) for column in list(zip(*workers, strict=True))[1:]]
    assert totals[1] == held
    assert totals[3] == sum(max(0, used + idle - SIZE) for _, used, idle, *_ in workers)
    servers.wait_until(lambda: page.number("checkedout") == 0)
    servers.wait_until(lambda: page.number("checkedin") == service.connections())


def active(service: Watched) -> int:
    """Give how many connections the server says are busy for a view."""
    return len(
        service.server.rows(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"
        )
    )


def test_the_curves_follow_the_load(service: Watched, page: Tab) -> None:
    """Wait and use times are drawn, and told in words to who does not see them."""
    label = "document.querySelector('[data-chart=use_time]').getAttribute('aria-label')"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: service.get("/hold?work=0.05"), range(160)))
        servers.wait_until(lambda: "highest" in page.script(label))

    drawn = "document.querySelectorAll('{} path.mean, {} path.p95').length"
    assert page.script(drawn.format("#pools", "#pools")) == 4
    assert page.script(drawn.format("#queue", "#queue")) == 2
    assert " on average, 95 % below " in page.script(label)
    assert page.script("document.querySelector('#pools path.used').getAttribute('d').length") > 20


def test_a_killed_worker_leaves_the_page(service: Watched, page: Tab) -> None:
    """Its row goes, its successor's comes; the sums stay the server's, what it did is counted."""
    load(lambda _: service.get(), 200)
    before = service.metric(CHECKOUTS)
    killed = service.workers()[0].pid
    servers.wait_until(lambda: shown_workers(page) == service.worker_ids())

    os.kill(killed, signal.SIGKILL)

    servers.wait_until(lambda: killed not in service.worker_ids())
    servers.wait_until(service.is_at_rest)
    servers.wait_until(lambda: shown_workers(page) == service.worker_ids())
    servers.wait_until(lambda: page.number("checkedin") == service.connections())
    assert page.number("capacity") == WORKERS * CAPACITY
    assert service.metric(CHECKOUTS) >= before


def test_a_leak_is_named_wherever_it_happened(service: Watched, page: Tab) -> None:
    """Whichever worker answers, the page tells the line and what to do."""
    assert page.text("[data-field=advice]").startswith("Nothing to change")

    service.get("/leak")

    servers.wait_until(lambda: "in leak" in page.text("[data-field=last_leak]"))
    assert "views.py:" in page.text("[data-field=advice]")
    assert page.number("leaks") == 1


def test_the_browser_has_nothing_to_complain_about(service: Watched, page: Tab) -> None:
    """No violation of the security policy, no error of a script, nothing that is missing."""
    service.get("/users")
    servers.wait_until(lambda: page.text("[data-field=checkouts]") != "0")

    assert page.complaints() == []


def test_when_the_service_is_away_the_page_says_so(page: Tab) -> None:
    """The last numbers stay, with the time at which they were true, until it answers again."""
    page.offline(True)
    servers.wait_until(lambda: page.text("#pulse").startswith("No answer since "))
    assert page.number("capacity") > 0

    page.offline(False)
    servers.wait_until(lambda: page.text("#pulse").startswith("As of "))


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_the_screen(page: Tab, width: int) -> None:
    """A phone shows the whole page without scrolling sideways."""
    page.size(width, 800, phone=True)

    assert page.script("document.documentElement.scrollWidth") <= width
    assert page.script("innerWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(page: Tab, scheme: str) -> None:
    """In both schemes, by the measure of WCAG 2.2, level AA."""
    page.scheme(scheme)
    servers.wait_until(lambda: page.script("document.querySelectorAll('svg text').length") > 9)

    assert page.script(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    assert page.script(CONTRAST) == []


def test_the_keyboard_is_enough(page: Tab) -> None:
    """Tab reaches the button, Enter stops and starts the numbers."""
    page.press("Tab")
    assert page.script("document.activeElement.id") == "pause"

    page.press("Enter")
    assert page.text("#pulse").startswith("Paused")
    page.press("Enter")
    servers.wait_until(lambda: page.text("#pulse").startswith("As of"))


def test_a_screen_reader_finds_names_and_news(page: Tab) -> None:
    """Pictures and tables have names; only the two advices interrupt, politely."""
    page.command("Accessibility.enable")
    nodes: list[dict[str, Any]] = page.command("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes]

    images = [name for role, name in found if role in ("image", "img")]
    assert len(images) == 7
    assert all(images)
    tables = [name for role, name in found if role == "table"]
    assert tables == ["Workers, by process id", "Routes that hold connections"]
    assert sum(role == "columnheader" for role, _ in found) == 7 + 5
    assert [role for role, _ in found if role in ("status", "alert", "log")] == ["status"] * 2


def test_the_browser_is_told_how_long_queue_pool_and_database_took(
    service: Watched, tab: Tab
) -> None:
    """As the network panel shows it, from the page's own performance entries."""
    tab.open(f"http://127.0.0.1:{service.port}/hold?query=0.2")

    timings = tab.script(
        "performance.getEntriesByType('navigation')[0].serverTiming.map(t => [t.name, t.duration])"
    )

    assert [name for name, _ in timings] == ["queue", "pool", "db"]
    assert 0 <= dict(timings)["queue"] < 1000
    assert 0 < dict(timings)["pool"] < 200
    assert 200 <= dict(timings)["db"] < 1000


def test_a_browser_sends_the_token_as_a_password(service: Watched, tab: Tab) -> None:
    """It is asked for it, by the page alone, and its script gets the numbers with it."""
    asked = service.request("GET", "/pool", Accept="text/html")
    assert (asked.status, asked.headers["WWW-Authenticate"][:6]) == (401, "Basic ")
    assert service.request("GET", "/pool.json").status == 404

    address = f"127.0.0.1:{service.port}/pool"
    tab.command("Page.navigate", url=f"http://anybody:{OPS_TOKEN}@{address}")

    servers.wait_until(lambda: tab.text("h1") == "The connection pool")
    servers.wait_until(lambda: tab.number("capacity") == WORKERS * CAPACITY)
