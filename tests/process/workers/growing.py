"""A worker that grows: says "ready PID", and takes memory when it is told to.

    growing.py [MIB]

It starts with MIB of memory (none if not given). USR1: it takes 192 MiB more at once. USR2: 32 MiB
more. TERM ends it with 0.
"""

from __future__ import annotations

import os
import signal
import sys

STEPS = {signal.SIGUSR1: 192, signal.SIGUSR2: 32}


def taken(mib: int) -> bytearray:
    """Return so much memory; its bytes are no zeros, so that it is there."""
    return bytearray(b"\1") * (mib << 20)


def main(words: list[str]) -> int:
    """Grow until TERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*STEPS, signal.SIGTERM})
    held = [taken(int(words[0]) if words else 0)]
    os.write(1, f"ready {os.getpid()}\n".encode())
    while (number := signal.sigwait({*STEPS, signal.SIGTERM})) != signal.SIGTERM:
        held.append(taken(STEPS[number]))
        os.write(1, f"grown {os.getpid()}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
