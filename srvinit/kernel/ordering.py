"""Which socket of a group the kernel calls number i, asked of the kernel without anybody noticing.

A SYN is sent to the group's own address, with a signature (TCP_MD5SIG) that no listener expects.
The group's program gives it, and nothing else, to place i. Whoever it comes to drops it and counts
it among his drops, which SO_MEMINFO shows: no connection comes about, no queue grows, no worker
wakes. Real connections go on being steered by the rest of the program. What it rests on:

- A signed SYN to a listener without a key is dropped, and counted, before anything is made of it
  (net/ipv4/tcp_ipv4.c, tcp_v4_rcv: tcp_inbound_hash, discard_and_relse). A client needs no
  capability for it; CONFIG_TCP_MD5SIG is set in all large distributions, not in all small kernels.
- On the loopback device a packet has mostly arrived when the call that sent it returns; under load
  the kernel may leave it to ksoftirqd.
- A listener drops real packets too, when its queue is full. So a drop at another socket than the
  expected one proves nothing by itself, and the question is repeated.

The first signature on a machine switches a branch in the kernel's TCP, once.
"""

from __future__ import annotations

import _socket
import errno
import select
import sys

from srvinit.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TCP_MD5SIG = 14  # linux/tcp.h
SO_MEMINFO = 55  # asm-generic/socket.h; Linux 4.12
MEMINFO_DROPS = 8  # linux/sock_diag.h: SK_MEMINFO_DROPS, the ninth of the numbers
ADDRESS_STORAGE_BYTES = 128
LONGEST_KEY_BYTES = 80
PATIENCE_MS = 20
TRIES = 3


class UntoldError(Exception):
    """The kernel cannot be asked; says why."""


def ask_for(place: int, sockets: Mapping[int, _socket.socket], program: bytes) -> int | None:
    """Return the key in `sockets` of the one that stands at `place`; None if it is none of them.

    Beyond the end of the group the kernel picks by hash: any of them. `program` is the group's,
    and goes on working; it must be attached anew afterwards, alone.
    Raises UntoldError where it cannot be found out, KernelRefused if no program can be attached.
    """
    found: set[int] = set()
    for _ in range(TRIES):
        found = _ask_once(place, sockets, program)
        if len(found) == 1:
            return found.pop()
    if found:
        raise UntoldError("the sockets drop so much that one packet more does not show")
    return None


def _ask_once(place: int, sockets: Mapping[int, _socket.socket], program: bytes) -> set[int]:
    """Send one signed SYN; return who dropped something meanwhile."""
    group = next(iter(sockets.values()))
    target = _loopback(group.getsockname())
    try:
        probe = _socket.socket(group.family, _socket.SOCK_STREAM)
    except OSError as refused:
        raise UntoldError(f"socket: {errno.errorcode.get(refused.errno or 0)}") from refused
    try:
        try:
            probe.bind((target[0], 0, *target[2:]))
            probe.setsockopt(_socket.IPPROTO_TCP, TCP_MD5SIG, _signature(group.family, target))
            before = {key: _drops(sock) for key, sock in sockets.items()}
        except OSError as refused:
            raise UntoldError(f"signing: {errno.errorcode.get(refused.errno or 0)}") from refused
        source = _packed(group.family, target[0])
        port = probe.getsockname()[1]
        bpf.attach_to_group(
            group, bpf.place_for(source, port, place) + program, f"port {target[1]}"
        )
        probe.setblocking(False)  # noqa: FBT003  the call has no other form
        number = probe.connect_ex(target)
        if number not in {errno.EINPROGRESS, 0}:
            raise UntoldError(f"connect: {errno.errorcode.get(number)}")
        for _ in range(PATIENCE_MS):
            found = {key for key, sock in sockets.items() if _drops(sock) != before[key]}
            if found:
                return found
            select.poll().poll(1)
    finally:
        probe.close()
    return set()


def _drops(sock: _socket.socket) -> int:
    """Say how many packets a socket has dropped."""
    size = 4 * (MEMINFO_DROPS + 1)
    told = sock.getsockopt(_socket.SOL_SOCKET, SO_MEMINFO, size)
    return int.from_bytes(told[size - 4 : size], sys.byteorder)


def _loopback(name: tuple[str, int]) -> tuple[str, int]:
    """Say how this machine reaches a listener: its own address, or the loopback device's."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name[0], name[0])  # noqa: S104  compared
    return (host, *name[1:])


def _packed(family: int, host: str) -> bytes:
    return _socket.inet_pton(family, host.partition("%")[0])


def _signature(family: int, target: tuple[str, int]) -> bytes:
    """Make a struct tcp_md5sig (linux/tcp.h): for whom, and any key."""
    order = sys.byteorder
    host = _packed(family, target[0])
    flow_information = b"" if family == _socket.AF_INET else bytes(4)
    storage = family.to_bytes(2, order) + target[1].to_bytes(2, "big") + flow_information + host
    length = b"\0\0" + (1).to_bytes(2, order) + bytes(4)  # flags, prefix, length, interface
    key = b"?".ljust(LONGEST_KEY_BYTES, b"\0")
    return storage.ljust(ADDRESS_STORAGE_BYTES, b"\0") + length + key
