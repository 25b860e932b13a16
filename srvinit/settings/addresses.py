"""How an address to listen on is written. Nothing is opened or looked up here.

`_socket` is used for inet_pton(3) alone: it is the judge of what an address is, and it works where
the kernel has no IPv6.
"""

from __future__ import annotations

import _socket

from srvinit.record import Record
from srvinit.settings.values import RefusedError, is_digits

LONGEST_PATH_BYTES = 107  # unix(7): sun_path, less its closing NUL
FIRST_FREE_FD = 3  # 0, 1 and 2 are the standard streams
HIGHEST_PORT = 65_535
BIND = "[NAME=]:PORT, HOST:PORT, [IPV6]:PORT, unix:PATH, udp:HOST:PORT or fd:N"


class Bind(Record):
    """One address to listen on. `text` is what the user wrote."""

    text: str
    kind: str  # "tcp", "udp", "unix", "fd"
    name: str = ""  # for LISTEN_FDNAMES
    host: str = ""  # "" is every address, of both families
    port: int = 0  # 0: the kernel picks one
    path: str = ""
    fd: int = -1

    @property
    def place(self) -> tuple[str, str, int, str, int]:
        """What may be bound only once."""
        return (self.kind, self.host, self.port, self.path, self.fd)

    def __str__(self) -> str:
        return self.text


def bind_address(value: object) -> Bind:
    """Read an address to listen on."""
    if not isinstance(value, str) or "\0" in value:
        raise RefusedError(f"expected {BIND}")
    name, equals, rest = value.partition("=")
    if not equals or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        name, rest = "", value  # the = belongs to a path
    kind, colon, where = rest.partition(":")
    if kind == "unix" and colon:
        size = len(where.encode("utf-8", "surrogateescape"))
        if not 1 <= size <= LONGEST_PATH_BYTES:
            raise RefusedError(f"expected unix:PATH of 1 to {LONGEST_PATH_BYTES} bytes")
        return Bind(value, "unix", name, path=where)
    if kind == "fd" and colon:
        if not is_digits(where) or int(where) < FIRST_FREE_FD:
            raise RefusedError(f"expected fd:N with N of at least {FIRST_FREE_FD}")
        return Bind(value, "fd", name, fd=int(where))
    kind, where = ("udp", where) if kind == "udp" and colon else ("tcp", rest)
    host, port = _host_and_port(where)
    return Bind(value, kind, name, host, port)


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        hint = f": did you mean :{text}?" if is_digits(text) else ""
        raise RefusedError(f"expected {BIND}{hint}")
    if not is_digits(port) or int(port) > HIGHEST_PORT:
        raise RefusedError(f"expected a port from 0 to {HIGHEST_PORT} at the end")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_address(_socket.AF_INET6, host.partition("%")[0]):
            raise RefusedError("expected an IPv6 address in the brackets")
    elif ":" in host:
        raise RefusedError(f"expected IPv6 addresses in brackets: [{host}]:{port}")
    elif host == "*":
        host = ""
    elif host and not _is_host(host):
        raise RefusedError("expected an IPv4 address or a host name before the port")
    return host, int(port)


def _is_host(text: str) -> bool:
    if not text.replace(".", "").isdigit():
        return text.isascii() and text.replace(".", "").replace("-", "").replace("_", "").isalnum()
    return _is_address(_socket.AF_INET, text)


def _is_address(family: int, text: str) -> bool:
    try:
        _socket.inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: not even ASCII
        return False
    return True
