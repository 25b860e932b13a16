"""Sockets with a past: paths that exist already, descriptors that srvinit's parent opened."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import pytest
from listening import (
    OPEN,
    ROOT,
    accept_one,
    address_of,
    inherited,
    opener,
    refusal,
)

from srvinit.errors import KernelRefused
from srvinit.kernel import sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from listening import Opener


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Open binds given as text; close what the test left open."""
    yield from opener()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


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
        ({"LISTEN_FDS": "1000000000"}, []),
        ({}, []),
    ],
)
def test_only_what_was_handed_to_this_very_process_is_inherited(
    environ: dict[str, str], expected: list[tuple[int, str]]
) -> None:
    found = sockets.inherited_fds({"LISTEN_PID": str(os.getpid())} | environ)
    assert [(one.fd, one.name) for one in found] == expected


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
