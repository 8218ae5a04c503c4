"""Asking a running service for what only operators may read."""

from __future__ import annotations

from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import click
from flask import current_app

PATIENCE = 10  # seconds that the service has to answer
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


def own_url() -> str:
    """Return where this service listens, as far as its settings tell."""
    host, port = current_app.config["HOST"], current_app.config["PORT"]
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ask(url: str, path: str) -> str:
    """Return the text of a page of the service; ClickException in one line if there is none."""
    page = url.rstrip("/") + path
    if not page.startswith(("http://", "https://")):
        raise click.ClickException(f"{url}: not the URL of a service; http://... is")
    # a proxy of the environment does not know this service
    opener = build_opener(ProxyHandler({}))
    try:
        request = Request(page)  # noqa: S310
        # not for whom the service redirects to
        request.add_unredirected_header("Authorization", f"Bearer {token()}")
        with opener.open(request, timeout=PATIENCE) as response:
            text: str = response.read().decode(errors="replace")
            return text
    except HTTPError as error:
        error.close()
        hint = ": is OPS_TOKEN the service's own?" if error.code == 404 else ""
        raise click.ClickException(f"{page} answered {error.code}{hint}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(f"{page} does not answer: {reason}") from error


def token() -> str:
    """Return OPS_TOKEN in the characters that a header may hold."""
    return str(current_app.config.get("OPS_TOKEN") or "").encode().decode("latin-1")
