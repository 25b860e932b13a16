"""waitress on the socket that srvinit hands over as fd 3."""

from __future__ import annotations

import signal
import socket
import sys

from waitress import serve
from wsgi import app

# Without a handler SIGTERM ends it at once; SystemExit has it finish what it has read.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
serve(app, sockets=[socket.socket(fileno=3)])
