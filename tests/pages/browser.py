"""Chromium without a window, driven over its own DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import servers
from servers.guard import kill_tree
from servers.workshop import make_folder
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
# noted before any script of the page runs
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


class Tab:
    """One page, and what the browser said of it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        self.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and give its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def script(self, expression: str) -> Any:
        """Run a script in the page and give its value."""
        result = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """Give the text of the first element that matches."""
        return str(self.script(f"document.querySelector({json.dumps(selector)})?.textContent"))

    def number(self, field: str) -> int:
        """Give the number that stands in a place of the page, -1 if none does."""
        text = self.text(f"[data-field={field}]")
        return int(text) if text.isdigit() else -1

    def open(self, url: str, **headers: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.command("Network.setExtraHTTPHeaders", headers=headers)
        self.command("Page.navigate", url=url)
        ready = f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
        servers.wait_until(lambda: self.script(ready))

    def size(self, width: int, height: int, *, phone: bool = False, scale: float = 1) -> None:
        """Give the window a size."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )

    def scheme(self, name: str) -> None:
        """Ask for light or dark colours."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def offline(self, is_away: bool) -> None:
        """Cut the page off from the network, or connect it again."""
        self.command(
            "Network.emulateNetworkConditions",
            offline=is_away,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def press(self, key: str) -> None:
        """Press a key."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}),
            )

    def picture(self, file: Path) -> None:
        """Save what is to be seen."""
        data = self.command("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """Give every error: of scripts, of loading, and against the security policy."""
        found: list[str] = self.script("window.violations")
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                found.append(f"{entry['text']} {entry.get('url')}")
        return found


class Browser:
    """A running browser, by the port of its DevTools."""

    def __init__(self, port: str) -> None:
        self._address = f"http://127.0.0.1:{port}/json"

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """Open an empty page for the length of a block."""
        target = json.loads(self._ask("PUT", "new"))
        try:
            # the browser answers neither a ping nor a goodbye while a page keeps it busy
            with connect(
                target["webSocketDebuggerUrl"], max_size=None, ping_interval=None, close_timeout=1
            ) as socket:
                yield Tab(socket)
        finally:
            self._ask("GET", f"close/{target['id']}")

    def _ask(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(f"{self._address}/{path}", method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: bytes = answer.read()
        return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a private browser."""
    program = servers.find_program("chromium", "chromium-browser", "google-chrome")
    folder = make_folder("chromium", {})
    command = [str(program), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | {"TMPDIR": str(folder)},  # it is killed, and would leave a folder
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid))
    try:
        yield Browser(_port(folder))
    finally:
        kill_tree(process.pid)
        process.wait(timeout=20)


def _port(folder: Path) -> str:
    """Wait until the browser can be driven and give the port."""
    file = folder / "DevToolsActivePort"
    servers.wait_until(lambda: file.exists() and len(file.read_text().splitlines()) == 2)
    return file.read_text().splitlines()[0]
