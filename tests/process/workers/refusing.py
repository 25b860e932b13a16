"""Runs a command where the kernel refuses one thing: refusing.py ipv6|steering COMMAND...

    ipv6        socket(AF_INET6) fails with EAFNOSUPPORT, as on a kernel without IPv6
    steering    setsockopt(SO_ATTACH_REUSEPORT_CBPF) fails with ENOPROTOOPT, as under gVisor

A seccomp filter does so: seccomp(2). Needs no privilege (no_new_privs).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys

SOCKET, SETSOCKOPT = {"x86_64": (41, 54), "aarch64": (198, 208)}[os.uname().machine]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARGUMENTS_AT = 0, 16
ALLOW, FAIL = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
SO_ATTACH_REUSEPORT_CBPF = 51
#: the call, which of its arguments, its value, and the errno
REFUSED = {
    "ipv6": (SOCKET, 0, socket.AF_INET6, errno.EAFNOSUPPORT),
    "steering": (SETSOCKOPT, 2, SO_ATTACH_REUSEPORT_CBPF, errno.ENOPROTOOPT),
}


def program(call: int, argument: int, value: int, number: int) -> bytes:
    """Return the filter; of an argument it looks at the lower half."""
    instructions = [
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 3, call),
        (LOAD, 0, 0, ARGUMENTS_AT + 8 * argument),
        (JUMP_IF_EQUAL, 0, 1, value),
        (RETURN, 0, 0, FAIL | number),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def main(what: str, *command: str) -> None:
    """Install the filter and become the command."""
    code = program(*REFUSED[what])
    held = ctypes.create_string_buffer(code)
    header = struct.pack("HP", len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, FILTER, ctypes.c_char_p(header), 0, 0),
    ):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), f"prctl{call[:2]}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
