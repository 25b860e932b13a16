"""The listening sockets, on real ones: addresses, Unix paths, inherited fds, going over on SIGHUP.

What needs another network stack runs in a Python of its own, in a namespace or under a filter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import proc
import pytest

from srvinit.addresses import bind_address
from srvinit.errors import KernelRefused
from srvinit.kernel import sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Opener = "Callable[..., list[sockets.Listener]]"
ROOT = Path(__file__).parents[2]

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
OPEN = """
from srvinit.addresses import bind_address
from srvinit.errors import KernelRefused
from srvinit.kernel import sockets
def opened(text):
    try:
        [listener] = sockets.open_listeners([bind_address(text)])
    except KernelRefused as refused:
        return f"{refused.call} {refused.what} {refused.name}"
    return listener.address
"""


@pytest.fixture
def opened() -> Iterator[Callable[..., list[sockets.Listener]]]:
    """Open binds given as text; close what the test left open."""
    everything: list[sockets.Listener] = []

    def open_(*texts: str, **settings: object) -> list[sockets.Listener]:
        listeners = sockets.open_listeners([bind_address(text) for text in texts], **settings)
        everything.extend(listeners)
        return listeners

    yield open_
    for listener in everything:
        listener.close()


def refusal(*texts: str) -> KernelRefused:
    with pytest.raises(KernelRefused) as refused:
        sockets.open_listeners([bind_address(text) for text in texts])
    return refused.value


def port_of(listener: sockets.Listener) -> int:
    return int(listener.address.rpartition(":")[2])


def as_socket(listener: sockets.Listener) -> socket.socket:
    """Return a Python socket on a copy of the fd."""
    return socket.socket(fileno=os.dup(listener.fd))


def accept_one(listener: sockets.Listener, client: socket.socket) -> None:
    """Check that the client's connection comes out of the listener."""
    with client, as_socket(listener) as server:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello")
            assert client.recv(5) == b"hello"


def open_fds() -> set[str]:
    """Return what all fds lead to, but the one that lists them."""
    return {proc.link(entry) for entry in Path("/proc/self/fd").iterdir()} - {""}


def in_python(
    script: str, *arguments: str, before: tuple[str, ...] = (), flags: tuple[str, ...] = ()
) -> list[str]:
    """Run a script with the package importable; return its lines."""
    done = subprocess.run(
        [*before, sys.executable, *flags, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


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


# -- Unix paths ------------------------------------------------------------------------------------


def listening_at(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.fspath(path))
    server.listen()
    return server


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.fspath(path))
    return client


def test_a_path_left_by_a_dead_process_is_replaced(opened: Opener, tmp_path: Path) -> None:
    """C16 a."""
    path = tmp_path / "web.sock"
    listening_at(path).close()
    [listener] = opened(f"unix:{path}")
    assert (listener.address, listener.path, listener.kind) == (f"unix:{path}", str(path), "unix")
    accept_one(listener, connect(path))


def test_a_served_path_is_refused_and_served_on(tmp_path: Path) -> None:
    """C16 b. A full queue is a sign of life, too."""
    path = tmp_path / "web.sock"
    with listening_at(path) as server:
        server.listen(0)
        assert refusal(f"unix:{path}").name == "EADDRINUSE"  # its connection fills the queue
        assert refusal(f"unix:{path}").name == "EADDRINUSE"
        server.accept()[0].close()
        connect(path).close()


def test_a_live_datagram_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(os.fspath(path))
        assert refusal(f"unix:{path}").name == "EADDRINUSE"


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_refused_and_left_alone(kind: str, tmp_path: Path) -> None:
    """C16 c."""
    path = tmp_path / "web.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("precious")
    before = path.lstat()
    refused = refusal(f"unix:{path}")
    assert refused.name == "EADDRINUSE"
    assert "not a socket" in str(refused)
    assert path.lstat().st_ino == before.st_ino


def test_a_path_in_a_missing_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(f"unix:{tmp_path}/no/web.sock").name == "ENOENT"


def test_close_removes_the_path(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    [listener] = opened(f"unix:{path}")
    assert stat.S_ISSOCK(path.lstat().st_mode)
    listener.close()
    assert not path.exists()
    listener.close()  # again: nothing happens


def test_close_leaves_a_path_that_is_somebody_elses_now(opened: Opener, tmp_path: Path) -> None:
    """C16: a clean exit removes only its own inode."""
    path = tmp_path / "web.sock"
    [listener] = opened(f"unix:{path}")
    path.unlink()
    with listening_at(path) as server:
        listener.close()
        connect(path).close()
        server.accept()[0].close()


def test_a_copy_can_be_closed_without_removing_the_path(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    [listener] = opened(f"unix:{path}")
    listener.close(remove=False)
    assert path.exists()


def test_a_relative_path_is_taken(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listening_at(Path("web.sock")).close()
    [listener] = opened("unix:web.sock")
    accept_one(listener, connect(tmp_path / "web.sock"))


def test_a_starting_neighbour_is_waited_for(tmp_path: Path) -> None:
    """Two srvinits that find the same dead socket: one gets it, the other sees it alive."""
    path = tmp_path / "web.sock"
    listening_at(path).close()
    lock = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    script = OPEN + "import sys; print('started', flush=True); print(opened(sys.argv[1]))"
    other = subprocess.Popen(
        [sys.executable, "-c", script, f"unix:{path}"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "started\n"
    path.unlink()
    with listening_at(path):  # the first one, ready before it lets the lock go
        os.close(lock)
        line = other.communicate(timeout=10)[0].strip()
    assert line == f"bind unix:{path} (somebody serves it) EADDRINUSE"


# -- inherited -------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def address_of(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


def test_fd_n_takes_a_listening_socket_over(opened: Opener, server: socket.socket) -> None:
    fd = os.dup2(server.fileno(), 200)
    [listener] = opened(f"fd:{fd}")
    assert (listener.fd, listener.kind, listener.is_inherited) == (fd, "tcp", True)
    assert listener.address == address_of(server)
    assert not os.get_inheritable(fd)
    accept_one(listener, socket.create_connection(server.getsockname(), 5))


def test_fd_n_that_is_no_listening_socket_is_refused() -> None:
    reading, writing = os.pipe()
    with socket.socket() as unbound, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        assert refusal(f"fd:{reading}").name == "ENOTSOCK"
        assert refusal(f"fd:{unbound.fileno()}").name == "EINVAL"
        assert refusal(f"fd:{datagrams.fileno()}").name == "ESOCKTNOSUPPORT"
        os.close(reading)
        assert refusal(f"fd:{reading}").name == "EBADF"
        os.close(writing)
        assert os.fstat(unbound.fileno())  # a refused descriptor is not closed


def test_an_inherited_path_is_not_ours_to_remove(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with listening_at(path) as server:
        [listener] = opened(f"fd:{os.dup(server.fileno())}")
        assert listener.address == f"unix:{path}"
        listener.close()
        assert path.exists()


def test_an_abstract_socket_is_named_with_an_at(opened: Opener) -> None:
    name = f"srvinit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        [listener] = opened(f"fd:{os.dup(server.fileno())}")
        assert listener.address == f"unix:@{name}"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web"}, [(3, "web"), (4, "")]),
        ({"LISTEN_FDS": "1"}, [(3, "")]),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1000000"}, []),
        ({"LISTEN_FDS": "-1"}, []),
        ({"LISTEN_FDS": "x"}, []),
        ({}, []),
    ],
)
def test_only_what_was_handed_to_this_very_process_is_inherited(
    environ: dict[str, str], expected: list[tuple[int, str]]
) -> None:
    found = sockets.inherited_fds({"LISTEN_PID": str(os.getpid())} | environ)
    assert [(one.fd, one.name) for one in found] == expected


def inherited(*servers: tuple[socket.socket, str]) -> list[sockets.Inherited]:
    return [sockets.Inherited(os.dup(server.fileno()), name) for server, name in servers]


def test_an_inherited_socket_takes_the_place_of_the_bind(
    opened: Opener, server: socket.socket
) -> None:
    """C17: it uses fd 3 and does not bind, whatever the address."""
    port = harness.free_port()
    [listener] = opened(f"web=127.0.0.1:{port}", inherited=inherited((server, "")))
    assert listener.is_inherited
    assert (listener.name, listener.address) == ("web", address_of(server))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_without_binds_all_inherited_sockets_are_used(
    opened: Opener, server: socket.socket
) -> None:
    listeners = opened(inherited=inherited((server, "a"), (server, "b")))
    assert [listener.name for listener in listeners] == ["a", "b"]


def test_inherited_sockets_are_matched_by_name_then_address_and_the_rest_is_opened(
    opened: Opener, server: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as admin:
        handed = inherited((server, "web"), (admin, ""), (server, "more"))
        listeners = opened(address_of(admin), "web=:1", "udp:127.0.0.1:0", inherited=handed)
    assert [listener.fd for listener in listeners[:2]] == [handed[1].fd, handed[0].fd]
    assert listeners[2].kind == "udp"
    assert [listener.name for listener in listeners[3:]] == ["more"]  # it waits to be served


def test_a_bad_inherited_descriptor_is_named(opened: Opener) -> None:
    reading, writing = os.pipe()
    with pytest.raises(KernelRefused, match=f"fd {reading} of LISTEN_FDS: .*ENOTSOCK"):
        opened(inherited=[sockets.Inherited(reading)])
    os.close(reading)
    os.close(writing)


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
