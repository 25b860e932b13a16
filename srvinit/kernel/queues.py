"""The accept queue of a listening TCP socket: how many wait, how many may, who is on the way.

For a socket in TCP_LISTEN, TCP_INFO's tcpi_unacked is the number of connections that wait to be
accepted and tcpi_sacked how many may (net/ipv4/tcp.c, tcp_get_info). Asking costs about 1 µs and
changes nothing, whoever holds a copy of the socket.
"""

from __future__ import annotations

import _socket
import posix
import sys

from srvinit.kernel import tcp_table

TCP_INFO_BYTES = 32  # linux/tcp.h: eight bytes, rto, ato, snd_mss, rcv_mss, unacked, sacked


def length(sock: _socket.socket) -> int:
    """Count the connections that wait to be accepted."""
    return _tcp_info(sock, -8)


def limit(sock: _socket.socket) -> int:
    """Say how many may wait: what listen(2) said last, whoever called it."""
    return _tcp_info(sock, -4)


def on_the_way(sock: _socket.socket) -> int:
    """Count those that wait and those whose handshake is not complete yet.

    One number, so nobody can be missed between two looks. A handshake takes a round trip, one
    whose client is gone takes a minute: wait for it, but not for ever. Without /proc only those
    that wait are counted. Dearer than `length`, since it reads a table of /proc.
    """
    inode = posix.fstat(sock.fileno()).st_ino
    for row in tcp_table.listening(sock.family):
        if row.inode == inode:
            return row.references - 1
    return length(sock)


def sharers(sock: _socket.socket) -> int:
    """Count the sockets that listen on this one's address, itself included; 0 without /proc."""
    inode = posix.fstat(sock.fileno()).st_ino
    rows = tcp_table.listening(sock.family)
    ours = [row.local for row in rows if row.inode == inode]
    return sum(row.local in ours for row in rows)


def _tcp_info(sock: _socket.socket, at: int) -> int:
    told = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, TCP_INFO_BYTES)
    return int.from_bytes(told[TCP_INFO_BYTES + at :][:4], sys.byteorder)
