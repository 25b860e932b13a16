"""One application, as WSGI and as ASGI, that is as good or as bad as the file `release` says.

It answers with its pid. /slow takes 0.2 s of its process; /deaf blocks the signals that ask it to
stop, and takes the process for ever. `lives/` gets a file for each process that has loaded it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

HERE = Path(__file__).parent
RELEASE = (HERE / "release").read_text().strip()
SLOW_S = 0.2
DEAF_TO = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}

if RELEASE == "exits":
    sys.exit("this release does not start")
if RELEASE == "hangs":
    time.sleep(3600)
(HERE / "lives" / str(os.getpid())).touch()
if RELEASE == "dies":
    killer = threading.Timer(0.3, os._exit, [1])
    killer.daemon = True
    killer.start()


def answer(path: str) -> bytes:
    """Do what a path asks for, and answer with the pid."""
    if path == "/slow":
        time.sleep(SLOW_S)
    if path == "/deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
        (HERE / "deaf").touch()
        while True:
            time.sleep(3600)
    return b"%d\n" % os.getpid()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer any request."""
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(
    scope: dict[str, Any], _receive: object, send: Callable[..., Awaitable[None]]
) -> None:
    """Answer any HTTP request."""
    if scope["type"] != "http":
        return
    body = answer(scope["path"])
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
