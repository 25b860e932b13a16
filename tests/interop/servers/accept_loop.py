#!/usr/bin/env python
"""The least a server can be: it accepts, answers, closes, and dies of SIGTERM as the kernel wills.

No handler, no thread, no event loop: what srvinit alone can do for a program that does nothing.
"""

from __future__ import annotations

import os
import socket

listener = socket.socket(fileno=3)
body = b"%d\n" % os.getpid()
answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(answer)
    connection.close()
