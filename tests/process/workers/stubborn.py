"""In generation 1 a server that ignores its stop signal, and takes nobody any more after USR2.

It says so: until then it may be on its way out of an accept(), with somebody in its hands. In later
ones it is bare.py alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import bare


def take_nobody(*_: object) -> None:
    """Say so, and do no more."""
    print("takes nobody", flush=True)
    time.sleep(3600)


if os.environ["SRVINIT_GENERATION"] == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, take_nobody)
bare.main(*sys.argv[1:])
