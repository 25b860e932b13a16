"""gevent's pywsgi on the socket that srvinit hands over as fd 3."""

from __future__ import annotations

import signal

import gevent
from app import app
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer


class Handler(WSGIHandler):
    """Has each kept-alive client go with its next answer, once the server closes."""

    def finalize_headers(self) -> None:
        """Complete the headers of an answer."""
        super().finalize_headers()
        if self.server.closed:
            self.close_connection = True
            self.response_headers.append((b"Connection", b"close"))


listener = socket.socket(fileno=3)
server = WSGIServer(listener, app, log=None, handler_class=Handler, spawn=Pool())
gevent.signal_handler(signal.SIGTERM, server.close)
server.serve_forever(stop_timeout=10)
