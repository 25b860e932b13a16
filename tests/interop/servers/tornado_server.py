"""tornado on the socket that srvinit hands over as fd 3."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler


class Answer(RequestHandler):
    """Answer with the pid of this process."""

    def get(self) -> None:
        """Answer any request."""
        self.finish(f"{os.getpid()}\n")


async def main() -> None:
    """Serve until SIGTERM."""
    listener = socket.socket(fileno=3)
    listener.setblocking(False)  # noqa: FBT003  the call has no other form
    server = HTTPServer(Application([("/", Answer)]))
    server.add_socket(listener)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    server.stop()
    await server.close_all_connections()


asyncio.run(main())
