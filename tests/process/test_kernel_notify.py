"""sd_notify(3) with real senders: who is believed, what is understood; nothing blocks or raises."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import pytest

from srvinit.kernel import notify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]

PROLOGUE = """
import os, select, socket, sys
def send(text, fds=()):
    where = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect("\\0" + where[1:] if where[0] == "@" else where)
        socket.send_fds(s, [text], fds) if fds else s.send(text)
def wait(): sys.stdin.readline()
def done(): print("done", flush=True); wait()
"""


@pytest.fixture
def inbox() -> Iterator[notify.NotifySocket]:
    made = notify.NotifySocket()
    yield made
    made.close()


@pytest.fixture
def start(inbox: notify.NotifySocket) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a worker that may use send(), wait() for a line and say it is done()."""
    with contextlib.ExitStack() as stack:

        def start_(script: str, **options: object) -> subprocess.Popen[str]:
            worker = subprocess.Popen(
                [sys.executable, "-c", PROLOGUE + script],
                env=os.environ | {"NOTIFY_SOCKET": inbox.path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
                **options,
            )
            stack.callback(_end, worker)
            return worker

        yield start_


def _end(worker: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate(timeout=10)


def received(inbox: notify.NotifySocket, worker: subprocess.Popen[str]) -> list[notify.Notice]:
    """Wait for a message, and take in what is there."""
    assert select.select([inbox.fd], [], [], 10)[0], "waited 10 s for a message"
    return inbox.receive(worker.pid)


def await_done(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert worker.stdout.readline() == "done\n"


def received_until_done(
    inbox: notify.NotifySocket, worker: subprocess.Popen[str]
) -> list[notify.Notice]:
    """Take messages in while the worker, which may wait at a barrier, is not done yet."""
    notices: list[notify.Notice] = []
    while True:
        happened = select.select([inbox.fd, worker.stdout], [], [], 20)[0]
        assert happened, f"waited 20 s for the worker; it said {notices}"
        notices += inbox.receive(worker.pid)
        if worker.stdout in happened:
            await_done(worker)
            return notices


def send(path: str, text: bytes) -> None:
    """Send as this process, which is no worker."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text, path)


# -- what is understood ----------------------------------------------------------------------------


def test_a_worker_says_that_it_is_ready(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start("send(b'READY=1\\nSTATUS=on duty'); wait()")
    [notice] = received(inbox, worker)
    assert notice == notify.Notice(worker.pid, ready=True, status="on duty")
    assert inbox.receive(worker.pid) == []


def test_messages_come_in_their_order(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """RELOADING=1 before the first READY=1 is haproxy's way (pitfall 9)."""
    texts = ["RELOADING=1", "READY=1", "WATCHDOG=1", "STOPPING=1"]
    worker = start(f"for text in {texts}: send(text.encode())\ndone()")
    await_done(worker)
    assert inbox.has_waiting()
    pid = worker.pid
    assert inbox.receive(pid) == [
        notify.Notice(pid, reloading=True),
        notify.Notice(pid, ready=True),
        notify.Notice(pid, pinged=True),
        notify.Notice(pid, stopping=True),
    ]
    assert not inbox.has_waiting()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", notify.Notice(7)),
        (b"READY=0", notify.Notice(7)),
        (b"READY=11\nready=1\n READY=1", notify.Notice(7)),
        (b"MAINPID=1\nFDSTORE=1\nX_KEY=\n=\n\n", notify.Notice(7)),
        (b"STATUS=", notify.Notice(7, status="")),
        (b"STATUS=\xff\x00", notify.Notice(7, status="\ufffd\0")),
        (b"\nREADY=1\n", notify.Notice(7, ready=True)),
        (b"STATUS=a=b\nSTATUS=c", notify.Notice(7, status="c")),
    ],
)
def test_only_what_is_defined_means_something(text: bytes, expected: notify.Notice) -> None:
    assert notify.parse(7, text) == expected


def test_no_bytes_raise() -> None:
    chance = random.Random(7)  # noqa: S311  no secret
    for _ in range(500):
        notify.parse(7, chance.randbytes(chance.randrange(200)))


def test_what_is_too_long_is_refused(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start("send(b'READY=1\\n' + b'x' * 5000); send(b'READY=1'); wait()")
    [notice] = received(inbox, worker)[:1]
    assert (notice.ready, notice.refused) == (False, "longer than 4096 bytes")


# -- who is believed -------------------------------------------------------------------------------


@pytest.mark.parametrize("session", ["", "os.setsid(); "])
def test_a_grandchild_is_believed(
    session: str, inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start(f"""
if os.fork() == 0:
    if os.fork() == 0: {session}send(b"READY=1"); done(); os._exit(0)
    os.wait(); os._exit(0)
os.wait()""")
    await_done(worker)
    [notice] = inbox.receive(worker.pid)
    assert notice.ready
    assert notice.sender_pid not in {worker.pid, 0}


def test_a_foreign_process_is_refused_by_pid(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start("wait()")
    send(inbox.path, b"READY=1")
    [notice] = inbox.receive(worker.pid)
    refused = f"its sender (pid {os.getpid()}) is no process of this worker"
    assert notice == notify.Notice(os.getpid(), refused=refused)


def test_another_worker_is_refused(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker, other = start("wait()"), start("send(b'READY=1'); done()")
    await_done(other)
    [notice] = inbox.receive(worker.pid)
    assert not notice.ready
    assert str(other.pid) in notice.refused


def test_a_sender_that_has_ended_is_believed_as_our_own_user(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start("""
if os.fork() == 0: send(b"READY=1"); os._exit(0)
os.wait(); done()""")
    await_done(worker)
    assert [notice.ready for notice in inbox.receive(worker.pid)] == [True]


def test_a_sender_that_has_ended_is_refused_as_another_user(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    if os.geteuid() != 0:
        harness.missing("root, to become another user")
    worker = start("""
if os.fork() == 0: os.setuid(65534); send(b"READY=1"); os._exit(0)
os.wait(); done()""")
    await_done(worker)
    [notice] = inbox.receive(worker.pid)
    assert not notice.ready
    assert "user 65534" in notice.refused


def test_a_worker_that_changed_its_user_is_believed(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """So the file is open to all: the sender is checked, not the file's mode."""
    if os.geteuid() != 0:
        harness.missing("root, to become another user")
    worker = start("os.setuid(65534); send(b'READY=1'); wait()")
    assert received(inbox, worker)[0].ready


# -- descriptors that come along -------------------------------------------------------------------


def test_a_barrier_falls_when_what_was_sent_before_is_taken_in(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start("""
r, w = os.pipe()
send(b"READY=1"); send(b"BARRIER=1", [w]); os.close(w)
p = select.poll(); p.register(r, 0); assert p.poll(10000) == [(r, select.POLLHUP)]
done()""")
    assert [notice.ready for notice in received_until_done(inbox, worker)] == [True, False]


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_sent_along_are_closed(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    before = open_fds()
    worker = start("send(b'FDSTORE=1\\nREADY=1', [0] * 253); done()")
    before += len([worker.stdin, worker.stdout])
    await_done(worker)
    assert [notice.ready for notice in inbox.receive(worker.pid)] == [True]
    assert open_fds() == before


def test_the_descriptors_of_a_refused_message_are_closed_too(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start("wait()")
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(inbox.path)
        socket.send_fds(sock, [b"BARRIER=1"], [writing])
    os.close(writing)
    assert inbox.receive(worker.pid)[0].refused
    assert os.read(reading, 1) == b""  # nobody has the other end any more
    os.close(reading)


def test_systemd_notify_is_understood(
    inbox: notify.NotifySocket, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """The program itself: a child of the worker that waits at its barrier."""
    program = harness.program("systemd-notify")
    worker = start(f"""
import subprocess
subprocess.run(["{program}", "--ready", "--status=shell"], check=True, timeout=20); done()""")
    notices = received_until_done(inbox, worker)
    assert [notice.refused for notice in notices if notice.refused] == []
    assert [notice.status for notice in notices if notice.ready] == ["shell"]


# -- where it is -----------------------------------------------------------------------------------


def test_the_socket_is_a_file_that_clients_without_at_can_reach(tmp_path: Path) -> None:
    inbox = notify.NotifySocket([f"{tmp_path}/missing", str(tmp_path)])
    path = Path(inbox.path)
    assert path.parent == tmp_path
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert not os.get_inheritable(inbox.fd)
    inbox.close()
    assert not path.exists()
    inbox.close()  # again: nothing happens


def test_without_a_directory_to_write_in_it_is_an_abstract_name() -> None:
    inbox = notify.NotifySocket(["/proc/nowhere"])
    assert inbox.path.startswith("@srvinit-")
    send("\0" + inbox.path[1:], b"READY=1")
    assert inbox.receive(os.getpid()) == [notify.Notice(os.getpid(), ready=True)]
    inbox.close()


def test_two_sockets_never_share_a_name() -> None:
    one, other = notify.NotifySocket(), notify.NotifySocket()
    assert one.path != other.path
    one.close()
    other.close()


# -- our own manager -------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "n"))
        yield made


def test_the_manager_is_told(manager: socket.socket) -> None:
    assert notify.tell_manager("READY=1\nSTATUS=é", manager.getsockname()) is None
    assert manager.recv(99) == "READY=1\nSTATUS=é".encode()


def test_a_manager_with_an_abstract_name_is_told() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0srvinit-test-{os.getpid()}")
        assert notify.tell_manager("STOPPING=1", f"@srvinit-test-{os.getpid()}") is None
        assert manager.recv(99) == b"STOPPING=1"


def test_the_manager_is_found_in_the_environment_srvinit_started_with(
    manager: socket.socket,
) -> None:
    script = "from srvinit.kernel import notify; print(notify.tell_manager('READY=1'))"
    for environ in ({"NOTIFY_SOCKET": manager.getsockname()}, {}):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
            | environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout == "None\n"
    assert manager.recv(99) == b"READY=1"
    assert not select.select([manager], [], [], 0)[0]


def test_a_manager_that_does_not_read_is_not_waited_for(manager: socket.socket) -> None:
    for _ in range(100_000):
        reason = notify.tell_manager("READY=1", manager.getsockname())
        if reason:
            break
    assert reason == f"{manager.getsockname()}: Resource temporarily unavailable"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("/nonexistent/n", "/nonexistent/n: No such file or directory"),
        ("vsock:2:1", "NOTIFY_SOCKET=vsock:2:1 is neither a path nor an abstract name"),
        ("/" + "x" * 200, "/" + "x" * 200 + ": File name too long"),
        ("", None),
    ],
)
def test_a_manager_that_cannot_be_told_is_named(address: str, reason: str | None) -> None:
    assert notify.tell_manager("READY=1", address) == reason
