"""aiohttp on the socket that srvinit hands over as fd 3."""

from __future__ import annotations

import os
import socket

from aiohttp import web


async def answer(_request: web.Request) -> web.Response:
    """Answer with the pid of this process."""
    return web.Response(text=f"{os.getpid()}\n")


app = web.Application()
app.router.add_get("/", answer)
web.run_app(app, sock=socket.socket(fileno=3))
