"""The applications of tests/interop/servers, but that the path /slow takes 200 ms.

Under uvicorn that blocks the event loop, as a computation or a forgotten synchronous call does.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "interop" / "servers"))
import asgi
import wsgi

SLOW_S = 0.2


def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer any WSGI request."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(SLOW_S)
    return wsgi.app(environ, start_response)


async def blocking(
    scope: dict[str, Any], receive: object, send: Callable[..., Awaitable[None]]
) -> None:
    """Answer any ASGI request."""
    if scope.get("path") == "/slow":
        time.sleep(SLOW_S)  # noqa: ASYNC251  what is measured
    await asgi.app(scope, receive, send)
