"""In generation 1 a server that ignores its stop signal, and takes nobody any more after USR2.

In later ones it is bare.py alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import bare

if os.environ["SRVINIT_GENERATION"] == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: time.sleep(3600))
bare.main(*sys.argv[1:])
