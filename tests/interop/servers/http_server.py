"""Python's own threading HTTP server on the socket that srvinit hands over as fd 3."""

from __future__ import annotations

import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """Answer with the pid of this process, and close."""

    def do_GET(self) -> None:
        """Answer any path."""
        body = b"%d\n" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Waits for its threads when it closes."""

    daemon_threads = False


server = Server(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.socket.settimeout(0)  # two workers wake for one connection: who comes late must not wait
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
