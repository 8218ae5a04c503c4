"""`flask pool plan` against a simulation of the same queue, written apart from it."""

from __future__ import annotations

import heapq
import random
from statistics import fmean
from typing import Any

import pytest
import servers
from conftest import Bake

from .conftest import Pool

REQUESTS = 200_000
DIRECT = ["--python", "0", "--workers", "1", "--instances", "1", "--format", "json"]


def waits(servers_: int, rate: float, hold: float) -> list[float]:
    """Return how long each simulated request waits; all times in seconds."""
    chance = random.Random(servers_)
    free = [0.0] * servers_
    now, found = 0.0, []
    for _ in range(REQUESTS):
        now += chance.expovariate(rate)
        start = max(now, free[0])
        heapq.heapreplace(free, start + chance.expovariate(1 / hold))
        found.append(start - now)
    return found


def late(waited: list[float], wait: float) -> float:
    """Return the share of requests that wait longer."""
    return sum(each > wait for each in waited) / len(waited)


@pytest.mark.parametrize(
    ("rate", "hold", "wait", "percentile"),
    [
        (20, 10, 0, 90),
        (100, 20, 10, 99),
        (500, 8, 5, 95),
        (1000, 30, 20, 90),
        (3000, 30, 5, 95),
    ],
)
def test_the_pool_is_the_smallest_that_keeps_the_wait(
    pool: Pool, rate: float, hold: float, wait: float, percentile: float
) -> None:
    """The simulated share of late requests is within the wish, and with one less it is not."""
    demand = ["--rate", rate, "--hold", hold, "--wait", wait, "--percentile", percentile]
    plan = pool("sqlite://", "plan", *map(str, demand), *DIRECT).data["plan"]

    size, wish = plan["pool_size"], 1 - percentile / 100
    waited, with_one_less = (waits(each, rate, hold / 1000) for each in (size, size - 1))
    assert late(waited, wait / 1000) <= wish * 1.15
    assert late(with_one_less, wait / 1000) > wish * 0.9
    assert late(waited, plan["wait_ms"] / 1000) <= wish * 1.15
    assert plan["mean_wait_ms"] == pytest.approx(1000 * fmean(waited), rel=0.15)


def test_a_server_too_small_asks_for_a_pooler(pool: Pool, postgresql: servers.PostgreSQL) -> None:
    """The limit is the server's own; the pooler needs what all instances need together."""
    url = postgresql.url(postgresql.create_database())
    demand = ["--rate", "400", "--hold", "5", "--wait", "5", "--workers", "1"]

    def ask(*more: str) -> dict[str, Any]:
        told = pool(url, "plan", *demand, *more, "--format", "json")
        plan: dict[str, Any] = told.data["plan"]
        return plan

    few, many = ask(), ask("--instances", "4000")

    assert (few["limit"], few["fits"]) == (97, True)
    assert (many["instances"], many["fits"], many["pooler_fits"]) == (4000, False, True)
    assert late(waits(many["pooled_connections"], 400, 0.005), 0.005) <= 0.0115
    assert "PgBouncer with" in pool(url, "plan", *demand, "--instances", "4000").out


def test_threads_never_exceed_the_pool(pool: Pool) -> None:
    """And a load beyond any one worker is spread over more of them."""
    demand = ["--rate", "50000", "--hold", "40", "--python", "2", "--workers", "4"]
    told = pool("sqlite://", "plan", *demand, "--format", "json").data
    for plan in (told["plan"], *told["growth"]):
        assert plan["threads"] == plan["pool_size"] + plan["max_overflow"] <= 101
        assert plan["connections"] == plan["instances"] * plan["workers"] * plan["threads"]
        assert plan["instances"] * plan["workers"] >= plan["rate"] * 0.002 / 0.7


def test_an_unknown_limit_is_said(pool: Pool) -> None:
    """A plan needs no server."""
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    told = pool(url, "plan", "--rate", "10", "--hold", "10")
    assert told.code == 0
    assert told.err.startswith("The server's limit is unknown: OperationalError: ")
    assert "unknown" in told.out


def test_pgbouncers_configuration_is_the_one_that_is_shipped(pool: Pool, bake: Bake) -> None:
    """But for the server, which is the URL's; its password is in neither."""
    shipped = bake(database_url="postgresql://app:hidden@db/app").text("ops/pgbouncer.ini")
    url = "postgresql+psycopg://app:hidden@/shop?host=one:5433&host=two:5433"
    told = pool(url, "plan", "--pgbouncer", WEB_CONCURRENCY=2)

    assert told.code == 0
    assert "* = host=one,two port=5433 connect_query=" in told.out
    assert told.out == shipped.replace("host=database port=5432", "host=one,two port=5433")
    assert "hidden" not in told.out + told.err + shipped


def test_pgbouncers_configuration_follows_settings_and_load(pool: Pool) -> None:
    """Clients are those of all workers, twice; server connections those that a load needs."""
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    sizes = {"SQLALCHEMY_POOL_SIZE": 3, "SQLALCHEMY_MAX_OVERFLOW": 4}
    more = ["--workers", "6", "--instances", "5", "--limit", "15"]
    told = pool(url, "plan", "--pgbouncer", *more, **sizes).out
    assert "\nmax_client_conn = 420\n" in told
    assert "\ndefault_pool_size = 15\n" in told

    load = ["--rate", "400", "--hold", "5", "--wait", "5", "--limit", "97"]
    plan = pool(url, "plan", *load, "--format", "json").data["plan"]
    told = pool(url, "plan", *load, "--pgbouncer").out
    assert f"\nmax_client_conn = {2 * plan['connections']}\n" in told
    assert f"\ndefault_pool_size = {plan['pooled_connections']}\n" in told


@pytest.mark.parametrize(
    "url",
    ["sqlite:///x.db", "mysql+pymysql://u@h/d", "postgresql+psycopg://u@/d?host=a:1&host=b:2"],
)
def test_pgbouncer_is_not_for_every_database(pool: Pool, url: str) -> None:
    """It says so in one line: one PostgreSQL, whose hosts have one port."""
    told = pool(url, "plan", "--pgbouncer")
    assert (told.code, told.out) == (2, "")
    assert told.err == "Error: --pgbouncer needs PostgreSQL, on the same port of each host\n"
