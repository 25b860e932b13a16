"""Whether a worker accepts, seen from outside, on real servers in every style that waits.

That a server accepts cannot be announced by itself, so the tests ask until it is seen, as srvinit
does. That it does not is proved by order: before its "go" a child is blocked reading its stdin.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import proc
import pytest

from srvinit.kernel import readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]

ROOT = Path(__file__).parents[2]

PROLOGUE = """
import os, select, selectors, socket, sys, threading, time
def held(): print("holding", flush=True); sys.stdin.readline()
s = socket.socket(fileno=int(sys.argv[1]))
"""
STYLES = {
    "blocking accept": "held(); s.accept()",
    "accept with a timeout": "held(); s.settimeout(600); s.accept()",
    "accept in a loop of timeouts": """
held(); s.settimeout(.02)
while True:
    try: s.accept()
    except TimeoutError: pass""",
    "poll": "held(); p = select.poll(); p.register(0); p.unregister(0); p.register(s); p.poll()",
    "select": "held(); select.select([s], [], [])",
    "select among others": "r, w = os.pipe(); held(); select.select([r, s], [], [])",
    "epoll": "held(); e = select.epoll(); e.register(s, select.EPOLLIN); e.poll()",
    "edge-triggered epoll": "held(); e = select.epoll(); "
    "e.register(s, select.EPOLLIN | select.EPOLLET); e.poll()",
    "a busy event loop": "held(); e = select.epoll(); e.register(s, 1)\nwhile True: e.poll(0)",
    "a copy of the socket": "held(); s.dup().accept()",
    "accept in a thread": "held(); threading.Thread(target=s.accept).start(); time.sleep(600)",
    "a child": "held()\nif os.fork() == 0: s.accept()\nos.wait()",
    "a grandchild": """
held()
if os.fork() == 0:
    if os.fork() == 0: s.accept()
    os.wait()
os.wait()""",
    "a grandchild in a session of its own": """
held()
if os.fork() == 0:
    if os.fork() == 0: os.setsid(); s.accept()
    os.wait()
os.wait()""",
    "a child of a thread": """
held()
def run():
    if os.fork() == 0: s.accept()
    os.wait()
threading.Thread(target=run).start(); time.sleep(600)""",
    "asyncio": """
import asyncio
async def main():
    server = await asyncio.start_server(lambda r, w: None, sock=s)
    await server.serve_forever()
held(); asyncio.run(main())""",
}


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a child that leads its own group, with `sock` at the fd in its first argument."""
    with contextlib.ExitStack() as stack:

        def start_(script: str, *socks: socket.socket) -> subprocess.Popen[str]:
            fds = [sock.fileno() for sock in socks]
            child = subprocess.Popen(
                [sys.executable, "-c", PROLOGUE + script, *map(str, fds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=fds,
                process_group=0,
            )
            stack.callback(_end, child)
            return child

        yield start_


def _end(child: subprocess.Popen[str]) -> None:
    for pid in [*_descendants(child.pid), child.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.communicate(timeout=10)


def _descendants(pid: int) -> list[int]:
    found = proc.children(pid)
    for child in found:
        found += proc.children(child)
    return found


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def await_line(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdout is not None
    assert select.select([child.stdout], [], [], 10)[0], f"waited 10 s for {line!r}"
    assert child.stdout.readline() == f"{line}\n"


def await_accepting(probe: readiness.ListenProbe, child: subprocess.Popen[str]) -> None:
    proc.wait_until(lambda: probe.is_accepting(child.pid), 10, "the child to accept")


@pytest.fixture
def shared() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def probe_of(*socks: socket.socket) -> readiness.ListenProbe:
    return readiness.ListenProbe(os.fstat(sock.fileno()).st_ino for sock in socks)


@pytest.mark.parametrize("style", STYLES)
def test_a_server_is_seen_when_it_accepts_and_not_before(
    style: str, start: Start, shared: socket.socket
) -> None:
    probe = probe_of(shared)
    child = start(STYLES[style], shared)
    await_line(child, "holding")
    assert not probe.is_accepting(child.pid)
    go(child)
    await_accepting(probe, child)


@pytest.mark.parametrize("family", ["unix", "second"])
def test_any_of_the_shared_sockets_will_do(
    family: str, start: Start, shared: socket.socket, tmp_path: Path
) -> None:
    kind = socket.AF_UNIX if family == "unix" else socket.AF_INET
    with socket.socket(kind) as other:
        other.bind(str(tmp_path / "s") if family == "unix" else ("127.0.0.1", 0))
        other.listen()
        probe = probe_of(shared, other)
        child = start("held(); s.accept()", other, shared)
        await_line(child, "holding")
        assert not probe.is_accepting(child.pid)
        go(child)
        await_accepting(probe, child)


@pytest.mark.parametrize("style", ["s.recv(9)", "select.select([s], [], [])", "s.recvmsg(9)"])
def test_a_udp_server_is_seen_when_it_receives(style: str, start: Start) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as shared:
        shared.bind(("127.0.0.1", 0))
        probe = probe_of(shared)
        child = start(f"held(); {style}", shared)
        await_line(child, "holding")
        assert not probe.is_accepting(child.pid)
        go(child)
        await_accepting(probe, child)


@pytest.mark.parametrize("style", ["blocking accept", "poll", "select", "epoll", "asyncio"])
def test_who_accepts_on_a_port_of_its_own_is_not_ready(
    style: str, start: Start, shared: socket.socket
) -> None:
    """Pitfall 10: it holds the shared socket, and binds its own port instead."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        child = start(STYLES[style], own, shared)
        await_line(child, "holding")
        go(child)
        await_accepting(probe_of(own), child)
        assert not probe_of(shared).is_accepting(child.pid)


def test_waiting_to_write_or_for_nothing_is_not_accepting(
    start: Start, shared: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        script = """
held(); t = socket.socket(fileno=int(sys.argv[2])); p = select.poll(); p.register(s, select.POLLIN)
p.register(t, 0); e = select.epoll(); e.register(t, select.EPOLLOUT); p.poll()"""
        child = start(script, own, shared)
        await_line(child, "holding")
        go(child)
        await_accepting(probe_of(own), child)
        assert not probe_of(shared).is_accepting(child.pid)


def test_a_socket_taken_out_of_the_epoll_set_is_not_accepted_on(
    start: Start, shared: socket.socket
) -> None:
    script = "e = select.epoll(); e.register(s, 1); held(); e.unregister(s); held(); e.poll(0)"
    probe = probe_of(shared)
    child = start(script, shared)
    await_line(child, "holding")
    assert probe.is_accepting(child.pid)
    go(child)
    await_line(child, "holding")
    assert not probe.is_accepting(child.pid)


def test_an_ended_worker_is_not_accepting(start: Start, shared: socket.socket) -> None:
    probe = probe_of(shared)
    child = start("held(); s.accept()", shared)
    await_line(child, "holding")
    go(child)
    await_accepting(probe, child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not probe.is_accepting(child.pid)  # a zombie
    assert readiness.unreadable(child.pid) is None
    child.wait()
    assert not probe.is_accepting(child.pid)  # gone


def test_descriptors_that_vanish_during_a_look_do_not_end_it(
    start: Start, shared: socket.socket
) -> None:
    """Pitfall 8: giving up the look cost up to 0.8 s on busy workers."""
    script = """
def churn():
    while True: [os.close(fd) for fd in [os.open("/dev/null", 0) for _ in range(64)]]
for _ in range(2): threading.Thread(target=churn, daemon=True).start()
u = socket.socket(fileno=os.dup2(s.fileno(), 400)); e = select.epoll(); e.register(u, 1); held()
e.poll()"""
    probe = probe_of(shared)
    child = start(script, shared)
    await_line(child, "holding")
    assert all(probe.is_accepting(child.pid) for _ in range(50))


def test_a_member_of_the_group_that_srvinit_adopted_is_looked_at() -> None:
    """Its parent has ended: no child of the worker any more, but of the subreaper."""
    script = (
        PROLOGUE.replace("s = socket.socket(fileno=int(sys.argv[1]))", "")
        + """
import ctypes, signal
from srvinit.kernel import procfs, readiness
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
s = socket.create_server(("127.0.0.1", 0)); r, w = os.pipe(); reaped, reaps = os.pipe()
leader = os.fork()
if leader == 0:
    os.setpgid(0, 0)
    if os.fork() == 0:
        if os.fork() == 0: os.write(w, b"%d\\n" % os.getpid()); s.accept()
        os._exit(0)
    os.wait(); os.write(reaps, b"."); signal.pause()
try:
    for pipe in (r, reaped): assert select.select([pipe], [], [], 10)[0], "10 s without a word"
    orphan = int(os.read(r, 99)); os.read(reaped, 1)
    probe = readiness.ListenProbe([os.fstat(s.fileno()).st_ino])
    deadline = time.monotonic() + 10
    while not probe.is_accepting(leader): assert time.monotonic() < deadline
    assert procfs.stat(orphan).parent_pid == os.getpid()
    assert probe.is_accepting(leader) and list(procfs.family(leader))[-1] == orphan
    assert procfs.is_of_family(orphan, leader) and not procfs.is_of_family(os.getpid(), leader)
    assert sorted(procfs.family(leader)) == sorted(procfs._family_by_scan(leader))
finally:
    os.killpg(leader, 9)
print("fine")
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_a_large_worker_is_looked_at_quickly(start: Start, shared: socket.socket) -> None:
    """The look is bounded: 100 threads and 1000 descriptors, in under a tenth of a second."""
    script = """
kept = [os.open("/dev/null", 0) for _ in range(1000)]
for _ in range(100): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
held(); s.accept()"""
    probe = probe_of(shared)
    child = start(script, shared)
    await_line(child, "holding")
    before = time.process_time()
    assert not probe.is_accepting(child.pid)
    assert time.process_time() - before < 0.1
    go(child)
    await_accepting(probe, child)


# -- what a platform hides -------------------------------------------------------------------------


def test_here_nothing_is_hidden() -> None:
    assert readiness.why_hidden() is None
    with pytest.raises(ChildProcessError):  # the child it was tried out at is reaped
        os.waitpid(-1, os.WNOHANG)


def why_hidden_in(*before: str) -> str:
    """Ask in a Python started by `before`."""
    script = "from srvinit.kernel import readiness; print(readiness.why_hidden())"
    done = subprocess.run(
        [*before, sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def as_root() -> None:
    if os.geteuid() != 0:
        harness.missing("root, for namespaces without /proc and for other users")


def test_a_foreign_proc_is_said() -> None:
    as_root()
    assert why_hidden_in("unshare", "--pid", "--fork") == "/proc is that of another PID namespace"


def test_a_missing_proc_is_said() -> None:
    as_root()
    empty = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc; exec "$@"', "sh")
    assert why_hidden_in(*empty) == "no /proc is mounted"


def test_a_missing_file_is_named() -> None:
    """As in gVisor, which has no syscall file; here nothing of the process is there."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert readiness._why_hidden_in(ended.pid, 0) == f"/proc/{ended.pid}/fd/0 is missing here"


def test_a_worker_that_changed_its_user_is_said_to_be_unreadable() -> None:
    """Root in a container usually has no CAP_SYS_PTRACE."""
    as_root()
    script = """
import os, socket, sys
from srvinit.kernel import readiness
s = socket.create_server(("127.0.0.1", 0)); r, w = os.pipe()
child = os.fork()
if child == 0: os.setuid(65534); os.write(w, b"x"); s.accept()
os.read(r, 1)
print(readiness.why_hidden())
print(readiness.unreadable(child).replace(str(child), "PID"))
print(readiness.ListenProbe([os.fstat(s.fileno()).st_ino]).is_accepting(child))
os.kill(child, 9)
"""
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "None",
        "process PID runs as user 65534 and may only be looked into with CAP_SYS_PTRACE",
        "False",
    ]


def test_a_readable_worker_is_not_called_unreadable(start: Start, shared: socket.socket) -> None:
    child = start("held(); s.accept()", shared)
    await_line(child, "holding")
    assert readiness.unreadable(child.pid) is None
