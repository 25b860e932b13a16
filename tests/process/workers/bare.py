"""The worst server: it accepts, answers, closes, and dies of SIGTERM as the kernel wills.

    bare.py [SECONDS]    the time each request takes

It has a thread for each socket, and answers with its pid. First it says on stdout "serves PID SLOT"
and the inode of each of its sockets.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

FIRST = 3


def serve(listener: socket.socket, takes_s: float) -> None:
    """Answer one connection after the other."""
    body = b"%d\n" % os.getpid()
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    while True:
        connection, _ = listener.accept()
        try:
            connection.recv(65536)
            time.sleep(takes_s)
            connection.sendall(answer)
        except OSError:
            pass  # the client is gone
        connection.close()


def main(takes: str = "0") -> None:
    """Serve all sockets, the first one in this thread."""
    fds = range(FIRST, FIRST + int(os.environ["LISTEN_FDS"]))
    inodes = " ".join(str(os.fstat(fd).st_ino) for fd in fds)
    os.write(1, f"serves {os.getpid()} {os.environ['SRVINIT_WORKER']} {inodes}\n".encode())
    first, *others = (socket.socket(fileno=fd) for fd in fds)
    for listener in others:
        threading.Thread(target=serve, args=(listener, float(takes)), daemon=True).start()
    serve(first, float(takes))


if __name__ == "__main__":
    main(*sys.argv[1:])
