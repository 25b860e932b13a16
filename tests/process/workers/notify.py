"""A worker that speaks sd_notify(3) as it is told: notify.py WORD..., carried out in this order.

    READY=1, STATUS=text, ...   is sent as it stands
    child:READY=1               is sent by a child of it
    wait:USR1                   waits for this signal
    say:TEXT                    says so on stdout
    ping:SECONDS                from here on it sends WATCHDOG=1 so often

First it says "socket NAME PID". TERM ends it with 0, whatever it is doing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def send(text: str) -> None:
    """Send one message; an abstract name begins with "@"."""
    path = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(os.fsencode(text), f"\0{path[1:]}" if path[0] == "@" else path)


def obey(word: str) -> None:
    """Carry out one word."""
    order, colon, rest = word.partition(":")
    if colon and order == "child":
        if os.fork() == 0:
            send(rest)
            os._exit(0)
        os.wait()
    elif colon and order == "wait":
        os.write(1, f"waiting for {rest} {os.getpid()}\n".encode())
        signal.sigwait([signal.Signals[f"SIG{rest}"]])
    elif colon and order == "say":
        os.write(1, f"{rest} {os.getpid()}\n".encode())
    elif colon and order == "ping":
        while not signal.sigtimedwait([], float(rest)):
            send("WATCHDOG=1")
    else:
        send(word)


def main(words: list[str]) -> None:
    """Obey, then wait for TERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    os.write(1, f"socket {os.environ['NOTIFY_SOCKET']} {os.getpid()}\n".encode())
    for word in words:
        obey(word)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
