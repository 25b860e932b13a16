"""What /proc/net/tcp and tcp6 tell of listening sockets, and the socket itself does not.

Rows are fields with blanks between (Documentation/networking/proc_net_tcp.rst). Listening sockets
come first, so the connections, however many there are, need not be read. Where there is no /proc,
or another system's idea of it, nothing is told.
"""

from __future__ import annotations

import _socket
import posix

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LISTENING = b"0A"  # TCP_LISTEN
CHUNK_BYTES = 32_768


class Row(Record):
    """One listening socket. `local` is its address and port in the kernel's spelling."""

    local: bytes
    inode: int
    references: int  # that the kernel holds on it
    waiting: int  # connections that nobody has accepted yet


def listening(family: int) -> list[Row]:
    """List the listening sockets of AF_INET or AF_INET6 in our network namespace."""
    table = "/proc/net/tcp" if family == _socket.AF_INET else "/proc/net/tcp6"
    try:
        fd = posix.open(table, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return []
    try:
        return list(parse(_chunks(fd)))
    except (OSError, IndexError, ValueError):
        return []
    finally:
        posix.close(fd)


def parse(chunks: Iterator[bytes]) -> Iterator[Row]:
    """Read rows up to the first that listens no more; the first row is the heading."""
    rest = next(chunks, b"").partition(b"\n")[2]
    while True:
        *rows, rest = rest.split(b"\n")
        for row in rows:
            fields = row.split()
            if fields[3] != LISTENING:
                return
            waiting = int(fields[4].partition(b":")[2], 16)  # "tx_queue:rx_queue"
            yield Row(fields[1], int(fields[9]), int(fields[10]), waiting)
        chunk = next(chunks, b"")
        if not chunk:
            return
        rest += chunk


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := posix.read(fd, CHUNK_BYTES):
        yield chunk
