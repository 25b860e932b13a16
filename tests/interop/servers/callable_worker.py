"""A Python callable as worker: the standard library's threading HTTP server, run by srvinit.srv.

It stops without losing a request: no further accept, each kept connection told with its next
answer, and serve() returns once every thread has ended.
"""

from __future__ import annotations

import contextlib
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING

from srvinit import srv

if TYPE_CHECKING:
    from srvinit import Worker


class Answer(BaseHTTPRequestHandler):
    """Answer with the pid of this process."""

    protocol_version = "HTTP/1.1"
    timeout = 1.0  # an idle connection holds its thread, and so the worker, no longer
    server: Server

    def handle(self) -> None:
        """Serve a connection; its client may leave it whenever it likes."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer any path."""
        body = b"%d\n" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.server.is_closing:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Say nothing: stderr is srvinit's log here."""


class Server(ThreadingMixIn, HTTPServer):
    """Takes the shared socket instead of binding one; server_close() waits for all threads."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(("", 0), Answer, bind_and_activate=False)
        self.socket.close()
        self.socket = worker.sockets[0]
        # Two workers wake for one connection; the other must not wait in accept for the next
        self.socket.settimeout(0)
        self.is_closing = False

    def close_gently(self) -> None:
        """Stop; in a thread, since shutdown() waits for the loop that this call interrupts."""
        self.is_closing = True
        threading.Thread(target=self.shutdown).start()


def serve(worker: Worker) -> None:
    """Serve until asked to stop, then until the last answer is out."""
    with Server(worker) as server:
        worker.on("disconnect", server.close_gently)
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    srv(
        serve,
        bind="127.0.0.1:8080",
        worker_count=2,
        worker_require="listen",
        worker_timeout="30s",
        recycle_settle="300ms",
        log_format="json",
    )
