"""A small ASGI application without a framework: it greets, and says which worker answered."""

# ruff: noqa: INP001  a folder of programs, no package

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WORKER = {
    "worker": os.environ.get("SRVINIT_WORKER"),
    "generation": os.environ.get("SRVINIT_GENERATION"),
    "pid": os.getpid(),
}


async def app(scope: dict[str, Any], receive: Any, send: Callable[..., Awaitable[None]]) -> None:
    """Answer /, and 404 elsewhere."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["type"] == "http":
        found = scope["path"] == "/"
        body = json.dumps({"hello": "world", **WORKER} if found else {"error": "not found"})
        await answer(send, 200 if found else 404, body.encode() + b"\n")


async def live(
    receive: Callable[..., Awaitable[Any]], send: Callable[..., Awaitable[None]]
) -> None:
    """Start and stop when the server does: a database pool would be opened and closed here."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Callable[..., Awaitable[None]], status: int, body: bytes) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
