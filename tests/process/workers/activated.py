"""Runs a command with listening sockets from fd 3 on, as systemd does: sd_listen_fds(3).

    activated.py COUNT [PID] COMMAND...    PID is LISTEN_PID, the command's own if "self"

Each listens on 127.0.0.1 on a port of the kernel's choice.
"""

from __future__ import annotations

import os
import socket
import sys


def main(count: str, pid: str, *command: str) -> None:
    """Open the sockets, place them and become the command."""
    for place in range(3, 3 + int(count)):
        listener = socket.create_server(("127.0.0.1", 0))
        if listener.fileno() != place:
            os.dup2(listener.fileno(), place)
        os.set_inheritable(place, True)  # noqa: FBT003  the call has no other form
        listener.detach()
    os.environ["LISTEN_FDS"] = count
    os.environ["LISTEN_PID"] = str(os.getpid()) if pid == "self" else pid
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
