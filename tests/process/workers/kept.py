"""A server that keeps connections and loses none: after TERM it closes each with its next answer.

It says so by "Connection: close", so that no request crosses the end of its connection. Answers
with its pid. Connections that stay silent are given up after IDLE_S.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

IDLE_S = 2.0
stopping = threading.Event()


def serve(connection: socket.socket) -> None:
    """Answer request after request, until one is told that it was the last."""
    connection.settimeout(IDLE_S)
    body = b"%d\n" % os.getpid()
    try:
        while request := connection.recv(65536):
            last = stopping.is_set() or b"connection: close" in request.lower()
            kept = b"close" if last else b"keep-alive"
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
            connection.sendall(head % (len(body), kept) + body)
            if last:
                break
    except OSError:
        pass  # the client is gone, or silent
    connection.close()


def main() -> None:
    """Accept until TERM, then empty the queue; the interpreter waits for the threads."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.set())
    listener = socket.socket(fileno=3)
    listener.settimeout(0.05)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            if stopping.is_set():
                return
            continue
        threading.Thread(target=serve, args=(connection,)).start()


if __name__ == "__main__":
    sys.exit(main())
