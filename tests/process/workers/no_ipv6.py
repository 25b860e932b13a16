"""Runs the command in its arguments where socket(AF_INET6) fails, as on a kernel without IPv6.

A seccomp filter answers EAFNOSUPPORT: seccomp(2). Needs no privilege (no_new_privs).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16
ALLOW, FAIL = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2

PROGRAM = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in [
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 3, SOCKET),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
        (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
)


def main(command: list[str]) -> None:
    """Install the filter and become the command."""
    code = ctypes.create_string_buffer(PROGRAM)
    header = struct.pack("HP", len(PROGRAM) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, FILTER, ctypes.c_char_p(header), 0, 0),
    ):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), f"prctl{call[:2]}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
