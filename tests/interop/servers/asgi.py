"""An ASGI application that answers with the pid of the process that ran it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def app(
    scope: dict[str, Any],
    receive: object,  # noqa: ARG001  daphne passes it by name
    send: Callable[..., Awaitable[None]],
) -> None:
    """Answer any HTTP request."""
    if scope["type"] != "http":
        return
    body = b"%d\n" % os.getpid()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
