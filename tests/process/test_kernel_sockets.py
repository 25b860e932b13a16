"""The listening sockets, on real ones: addresses, Unix paths, inherited fds, going over on SIGHUP.

What needs another network stack runs in a Python of its own, in a namespace or under a filter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from listening import (
    OPEN,
    accept_one,
    as_socket,
    in_python,
    inherited,
    opener,
    port_of,
    refusal,
)

from srvinit.errors import KernelRefused
from srvinit.kernel import sockets
from srvinit.settings.addresses import bind_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from listening import Opener


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Open binds given as text; close what the test left open."""
    yield from opener()


# Every IPv6 socket fails from here on with the errno in argv[1]: what a kernel without it does, or
# a seccomp profile. The filter is: architecture aside, socket(AF_INET6, …) → errno.
NO_IPV6 = """
import ctypes, os, platform, struct, sys
SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, SOCKET), (0x20, 0, 0, 16), (0x15, 0, 1, 10),
         (0x06, 0, 0, 0x00050000 | int(sys.argv[1])), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(held)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
"""


def open_fds() -> set[str]:
    """Return what all fds lead to, but the one that lists them."""
    return {proc.link(entry) for entry in Path("/proc/self/fd").iterdir()} - {""}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


# -- addresses -------------------------------------------------------------------------------------


def test_a_bare_port_answers_on_both_families(opened: Opener) -> None:
    [listener] = opened(":0")
    port = port_of(listener)
    assert listener.address == f":{port}"
    for host in ("127.0.0.1", "::1"):
        accept_one(listener, socket.create_connection((host, port), 5))


def test_a_bare_port_serves_both_families_whatever_the_sysctl_says() -> None:
    """C19, third part: net.ipv6.bindv6only=1 in a network namespace of its own."""
    if os.geteuid() != 0:
        harness.missing("root, for a network namespace with another sysctl")
    script = OPEN + (
        "open('/proc/sys/net/ipv6/bindv6only', 'w').write('1')\n"
        "print(opened(':8099'), opened('[::1]:8099'))"
    )
    with_lo = ("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
    [line] = in_python(script, before=with_lo)
    # ":8099" is what a socket with IPV6_V6ONLY=0 is called; [::1] beside it collides
    assert line == ":8099 bind [::1]:8099 EADDRINUSE"


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM])
def test_without_ipv6_a_bare_port_is_served_on_ipv4(number: int) -> None:
    """C19, first and second part."""
    lines = in_python(NO_IPV6 + OPEN + "print(opened(':0'), opened('[::1]:8099'))", str(number))
    address, _, refused = lines[0].partition(" ")
    assert address.startswith("0.0.0.0:")
    assert refused == f"socket [::1]:8099 {errno.errorcode[number]}"


def test_an_ipv6_wildcard_leaves_ipv4_to_a_bind_of_the_same_port(opened: Opener) -> None:
    port = harness.free_port()
    four, six = opened(f"0.0.0.0:{port}", f"[::]:{port}")
    assert (four.address, six.address) == (f"0.0.0.0:{port}", f"[::]:{port}")
    accept_one(four, socket.create_connection(("127.0.0.1", port), 5))
    accept_one(six, socket.create_connection(("::1", port), 5))


def test_an_ipv6_wildcard_alone_serves_both_families(opened: Opener) -> None:
    [listener] = opened("[::]:0")
    accept_one(listener, socket.create_connection(("127.0.0.1", port_of(listener)), 5))


def test_a_host_name_is_one_socket_and_ipv4_comes_first(opened: Opener) -> None:
    [listener] = opened("localhost:0")
    assert listener.address == f"127.0.0.1:{port_of(listener)}"


def test_port_0_is_shown_as_the_real_port(opened: Opener) -> None:
    [listener] = opened("[::1]:0")
    assert listener.address.startswith("[::1]:")
    assert port_of(listener) > 0


def test_an_unknown_host_is_refused_by_name() -> None:
    refused = refusal("no-such-host.invalid:80")
    assert refused.call == "getaddrinfo"
    assert "no-such-host.invalid:80" in str(refused)


def test_a_busy_port_is_refused_by_address_and_errno(opened: Opener) -> None:
    """C20."""
    [taken] = opened("127.0.0.1:0")
    refused = refusal(taken.address)
    assert (refused.call, refused.what, refused.name) == ("bind", taken.address, "EADDRINUSE")


def test_a_busy_udp_port_is_refused_too(opened: Opener) -> None:
    """With SO_REUSEADDR the second would get the datagrams, and nobody would know."""
    [taken] = opened("udp:127.0.0.1:0")
    assert refusal(taken.address).name == "EADDRINUSE"


def test_udp_datagrams_arrive_and_wait(opened: Opener) -> None:
    [listener] = opened("udp:127.0.0.1:0")
    assert listener.address.startswith("udp:127.0.0.1:")
    assert not listener.has_waiting()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", ("127.0.0.1", port_of(listener)))
    assert listener.has_waiting()
    with as_socket(listener) as server:
        assert server.recv(9) == b"hello"
    listener.restore_backlog()  # there is none, and nothing happens


def test_if_one_address_is_refused_nothing_stays_open(opened: Opener, tmp_path: Path) -> None:
    [taken] = opened("127.0.0.1:0")
    before = open_fds()
    path = tmp_path / "web.sock"
    refusal(":0", "udp::0", f"unix:{path}", taken.address)
    assert open_fds() == before
    assert not path.exists()


# -- what a socket is like -------------------------------------------------------------------------


def test_sockets_are_blocking_not_inherited_and_send_at_once(opened: Opener) -> None:
    [listener] = opened("127.0.0.1:0")
    assert fcntl.fcntl(listener.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert not fcntl.fcntl(listener.fd, fcntl.F_GETFL) & os.O_NONBLOCK
    with as_socket(listener) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


def test_nodelay_can_be_turned_off(opened: Opener) -> None:
    [listener] = opened("127.0.0.1:0", nodelay=False)
    with as_socket(listener) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


def test_nobody_touches_a_flag_that_a_worker_has_set(opened: Opener) -> None:
    """Cleared behind their back, event loops stop answering (pitfall 3)."""
    [listener] = opened("127.0.0.1:0")
    os.set_blocking(listener.fd, False)
    listener.restore_backlog()
    assert not listener.has_waiting()
    current, _ = sockets.reopen([listener], [listener.bind])
    assert current == [listener]
    assert fcntl.fcntl(listener.fd, fcntl.F_GETFL) & os.O_NONBLOCK


def test_the_inode_is_what_proc_shows(opened: Opener) -> None:
    [listener] = opened("127.0.0.1:0")
    assert proc.link(f"/proc/self/fd/{listener.fd}") == f"socket:[{listener.inode}]"


def test_a_waiting_connection_is_seen(opened: Opener) -> None:
    [listener] = opened("127.0.0.1:0")
    assert not listener.has_waiting()
    with socket.create_connection(("127.0.0.1", port_of(listener)), 5):
        assert listener.has_waiting()
    listener.close()
    assert not listener.has_waiting()


def backlog_of(listener: sockets.Listener) -> int:
    """Read what listen(2) has set: tcpi_sacked of a listening socket is its sk_max_ack_backlog."""
    with as_socket(listener) as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int(struct.unpack_from("=I", info, 28)[0])


def test_the_backlog_is_as_large_as_the_kernel_allows_and_can_be_restored(opened: Opener) -> None:
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    [listener] = opened("127.0.0.1:0")
    assert backlog_of(listener) == somaxconn
    with as_socket(listener) as worker:
        worker.listen(5)
    assert backlog_of(listener) == 5
    listener.restore_backlog()
    assert backlog_of(listener) == somaxconn


def test_a_backlog_of_its_own_is_used(opened: Opener) -> None:
    [listener] = opened("127.0.0.1:0", backlog=7)
    assert backlog_of(listener) == 7


# -- going over to other binds ---------------------------------------------------------------------


def test_going_over_keeps_what_did_not_change_with_its_queue(opened: Opener) -> None:
    old = opened("127.0.0.1:0", "[::1]:0", "udp:127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", port_of(old[0])), 5):
        binds = [bind_address(text) for text in ("udp:127.0.0.1:0", ":0", "web=127.0.0.1:0")]
        new, released = sockets.reopen(old, binds, backlog=9)
        try:
            assert (new[0], new[2]) == (old[2], old[0])
            assert (new[2].name, backlog_of(new[2])) == ("web", 9)
            assert new[2].has_waiting()
            assert released == [old[1]]
            assert released[0].fd >= 0  # closing it is the caller's, when nobody needs it
        finally:
            new[1].close()


def test_a_refused_change_leaves_everything_as_it_was(opened: Opener) -> None:
    old = opened("127.0.0.1:0")
    [taken] = opened("127.0.0.1:0")
    before = open_fds(), backlog_of(old[0])
    binds = [bind_address(text) for text in ("web=127.0.0.1:0", ":0", taken.address)]
    with pytest.raises(KernelRefused):
        sockets.reopen(old, binds, backlog=9)
    assert (open_fds(), backlog_of(old[0]), old[0].name) == (*before, "")


def test_an_inherited_socket_stays_though_binds_change(
    opened: Opener, server: socket.socket
) -> None:
    old = opened("127.0.0.1:1", inherited=inherited((server, ""), (server, "more")))
    new, released = sockets.reopen(old, [bind_address("127.0.0.1:1")])
    assert (new, released) == (old, [])


def test_nothing_heavy_is_imported_for_sockets() -> None:
    script = OPEN + "import sys; opened('localhost:0'); print(*sys.modules)"
    lines = in_python(script, flags=("-S",))
    loaded = set(lines[0].split())
    assert loaded.isdisjoint({"os", "socket", "re", "enum", "typing", "encodings.idna"})


def test_poll_finds_new_connections_on_all_holders(opened: Opener) -> None:
    """The description is shared: what waits is seen by each copy."""
    [listener] = opened("127.0.0.1:0")
    copy = os.dup(listener.fd)
    with socket.create_connection(("127.0.0.1", port_of(listener)), 5):
        assert select.select([copy], [], [], 5)[0] == [copy]
        assert listener.has_waiting()
    os.close(copy)


def test_sockets_are_created_as_asked_blocking_or_not() -> None:
    """Nginx needs the one, a program that waits in accept the other; a kept socket stays as is."""
    at_any_port = bind_address("127.0.0.1:0")

    blocking = sockets.open_listeners([at_any_port])
    nonblocking = sockets.open_listeners([at_any_port], nonblocking=True)
    kept, _ = sockets.reopen(blocking, [at_any_port], nonblocking=True)

    assert os.get_blocking(blocking[0].fd)
    assert not os.get_blocking(nonblocking[0].fd)
    assert os.get_blocking(kept[0].fd)
    for listener in (*blocking, *nonblocking):
        listener.close()
