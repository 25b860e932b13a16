"""What a worker gets: its group, sockets, environment and signals, and nothing else."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import proc
import pytest
from forked import forked
from spawning import ended, launch, names_in, protocols, run, start

from srvinit.kernel import descriptors, signals, spawn
from srvinit.kernel import exec as execing

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="hides /proc")


# --- descriptors -------------------------------------------------------------------------------


def open_fds(how: spawn.Launch) -> dict[str, str]:
    """Spawn `cat` and look at its descriptors from outside, once it has echoed a line."""
    signals.block()
    descriptors.mark_close_on_exec()
    ours, theirs = socket.socketpair()
    for fd in (0, 1):
        os.dup2(theirs.fileno(), fd)
    theirs.close()
    pid, result = start(how)
    assert isinstance(result, execing.Execed)
    ours.settimeout(10)
    ours.sendall(b"x")
    assert ours.recv(1) == b"x"
    fds = {name: proc.link(f"/proc/{pid}/fd/{name}") for name in names_in(f"/proc/{pid}/fd")}
    ours.shutdown(socket.SHUT_WR)
    assert ended(pid) == 0
    return fds


def test_a_worker_has_its_sockets_at_3_and_up_and_nothing_else() -> None:
    """Also what srvinit inherited from outside without close-on-exec stays behind (C18)."""

    def body() -> list[Any]:
        leaked = os.dup(1)
        os.dup2(leaked, 40, inheritable=True)
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        sockets = tuple(("", "127.0.0.1:1", listener.fileno()) for listener in listeners)
        fds = open_fds(launch("cat", sockets=sockets, stdin_is_shared=True))
        inherited = os.get_inheritable(listeners[0].fileno())
        return [fds, [inode_of(listener.fileno()) for listener in listeners], inherited]

    fds, inodes, inherited = forked(body)
    assert sorted(fds) == ["0", "1", "2", "3", "4"]
    assert [fds["3"], fds["4"]] == [f"socket:[{number}]" for number in inodes]
    assert not inherited


@pytest.mark.parametrize("places", [*itertools.permutations((3, 4, 5)), (5, 9, 3), (9, 3, 4)])
def test_sockets_come_in_order_wherever_they_were(places: tuple[int, ...]) -> None:
    """Sources may stand where others belong, and the exec pipe where one of them does."""

    def body() -> list[Any]:
        inodes = []
        for place in places:
            made = socket.socket()
            inodes.append(inode_of(os.dup2(made.fileno(), 20 + place, inheritable=False)))
            made.close()
        for place in places:
            os.dup2(20 + place, place, inheritable=False)
            os.close(20 + place)
        sockets = tuple(("", ":1", place) for place in places)
        return [open_fds(launch("cat", sockets=sockets, stdin_is_shared=True)), inodes]

    fds, inodes = forked(body)
    assert sorted(fds) == ["0", "1", "2", "3", "4", "5"]
    assert [fds[str(3 + n)] for n in range(3)] == [f"socket:[{number}]" for number in inodes]


def test_the_blocking_mode_of_a_shared_socket_is_left_alone() -> None:
    def body() -> list[bool]:
        modes = []
        for blocking in (True, False):
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(blocking)
            run(launch("true", sockets=(("", ":1", listener.fileno()),)))
            modes.append(os.get_blocking(listener.fileno()))
        return modes

    assert forked(body) == [True, False]


def test_stdin_is_empty_unless_it_is_shared() -> None:
    """What is written to the container's stdin is never read by two workers (C52)."""

    def body() -> list[Any]:
        told = []
        for shared in (False, True):
            read_fd, write_fd = os.pipe()
            os.write(write_fd, b"touch /tmp/pwned")
            os.close(write_fd)
            os.dup2(read_fd, 0)
            os.close(read_fd)
            told.append(run(launch("cat", stdin_is_shared=shared))[0])
        return told

    assert forked(body) == ["", "touch /tmp/pwned"]


def test_closed_standard_descriptors_are_filled_so_that_no_socket_lands_there() -> None:
    """C44: 0, 1 and 2 closed at start; workers see /dev/null there too."""

    def body() -> list[Any]:
        os.closerange(0, 3)
        descriptors.fill_standard()
        first = socket.socket().detach()
        fds = [proc.link(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]
        signals.block()
        pid, _ = start(launch("sleep", "9"))
        theirs = [proc.link(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
        signals.send(pid, "KILL")
        return [first, fds, theirs]

    assert forked(body) == [3, ["/dev/null"] * 3, ["/dev/null"] * 3]


def test_filling_leaves_open_descriptors_as_they_are() -> None:
    def body() -> bool:
        os.close(1)
        before = [proc.link(f"/proc/self/fd/{fd}") for fd in (0, 2)]
        descriptors.fill_standard()
        after = [proc.link(f"/proc/self/fd/{fd}") for fd in (0, 2)]
        return before == after and os.get_inheritable(1)

    assert forked(body)


HIDDEN = 'mount -t tmpfs none /proc && exec "$@"'
NO_PROC = """
import os
from srvinit.kernel import descriptors
os.dup2(1, 40, inheritable=True)
assert not os.path.exists("/proc/self"), "the test did not hide /proc"
descriptors.mark_close_on_exec()
print(os.get_inheritable(40), os.get_inheritable(1))
"""


@as_root
def test_without_proc_inherited_descriptors_are_found_as_well() -> None:
    """One by one, and few enough that a limit of a billion costs nothing there either (C53)."""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", HIDDEN, "sh", sys.executable, "-c", NO_PROC],
        cwd=ROOT,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"False True\n", b"")


def test_the_need_for_descriptors_grows_with_workers_and_sockets() -> None:
    """C55: 64 workers do not fit into 16 descriptors, two do; the limit is read, never changed."""

    def body() -> list[int]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 20))
        return [descriptors.limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]]

    assert forked(body, at_descriptor=10) == [16, 16]
    assert descriptors.needed(64, 1) > 64
    assert descriptors.needed(1, 0) <= 16
    assert descriptors.needed(4, 1, notify=True) == descriptors.needed(4, 1) + 5


# --- environment -------------------------------------------------------------------------------


def told(how: spawn.Launch, notify_path: str | None = None) -> dict[str, str]:
    """Return the environment that a worker gets, as /usr/bin/env prints it, and its pid as $$."""
    words = ("sh", "-c", 'echo "$=$$"; exec env')
    how.argv = words
    output, code, _ = forked(run, how, notify_path)
    assert code == 0
    return dict(line.split("=", 1) for line in output.splitlines())


def test_every_widely_spoken_protocol_names_the_sockets() -> None:
    sockets = (("web", "127.0.0.1:8080", 0), ("", "unix:/run/a.sock", 1), ("", ":81", 2))
    environ = told(launch(sockets=sockets, watchdog_s=1.5), "/run/notify")
    assert protocols(environ) == {
        "LISTEN_FDS": "3",
        "LISTEN_PID": environ["$"],
        "LISTEN_FDNAMES": "web:unknown:unknown",
        "SERVER_STARTER_PORT": "127.0.0.1:8080=3;/run/a.sock=4;81=5",
        "SERVER_STARTER_GENERATION": "7",
        "EINHORN_FD_COUNT": "3",
        "EINHORN_FD_0": "3",
        "EINHORN_FD_1": "4",
        "EINHORN_FD_2": "5",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "1500000",
        "WATCHDOG_PID": environ["$"],
        "SRVINIT_WORKER": "2",
        "SRVINIT_GENERATION": "7",
    }


def test_what_another_manager_told_srvinit_is_not_passed_on() -> None:
    """Also without a socket: a stale LISTEN_FDS would name descriptors that are not there."""
    outside = {
        b"LISTEN_FDS": b"9",
        b"LISTEN_PID": b"1",
        b"LISTEN_FDNAMES": b"x",
        b"SERVER_STARTER_PORT": b"80=9",
        b"SERVER_STARTER_GENERATION": b"4",
        b"EINHORN_FD_COUNT": b"1",
        b"EINHORN_FD_0": b"9",
        b"EINHORN_FDS": b"9",
        b"NOTIFY_SOCKET": b"/run/systemd/notify",
        b"WATCHDOG_USEC": b"1",
        b"WATCHDOG_PID": b"1",
        b"SRVINIT_WORKER": b"8",
        b"SRVINIT_GENERATION": b"8",
        b"": b"odd",
        b"PATH": os.environb[b"PATH"],
        b"KEPT": b"\xff",
    }
    environ = told(launch(environ=outside))
    assert protocols(environ) == {"SRVINIT_WORKER": "2", "SRVINIT_GENERATION": "7"}


def test_bytes_that_are_no_text_reach_the_worker_as_they_are() -> None:
    def body() -> list[Any]:
        environ = dict(os.environb) | {b"RAW": b"\xff\xfe"}
        how = launch(
            "sh", "-c", 'printf %s "$RAW$1" | od -An -tx1', "sh", "\udc80", environ=environ
        )
        return run(how)

    assert forked(body)[0].split() == ["ff", "fe", "80"]


def test_worker_env_has_the_last_word() -> None:
    """So a server that would follow two protocols at once can be spared one of them."""
    extra = (("LISTEN_FDS", "0"), ("GREETING", "a=b c"))
    environ = told(launch(sockets=(("", ":1", 0),), extra_env=extra))
    assert (environ["LISTEN_FDS"], environ["GREETING"]) == ("0", "a=b c")
    assert environ["EINHORN_FD_0"] == "3"


def test_a_release_link_that_moved_is_followed_at_the_next_start(tmp_path: Path) -> None:
    def body() -> list[str]:
        link = tmp_path / "current"
        seen = []
        for release in ("one", "two"):
            (tmp_path / release).mkdir()
            link.unlink(missing_ok=True)
            link.symlink_to(release)
            how = launch("sh", "-c", "pwd -P; pwd", cwd=str(link))
            seen += run(how)[0].split()
        return seen

    current = str(tmp_path / "current")
    assert forked(body) == [str(tmp_path / "one"), current, str(tmp_path / "two"), current]


# --- signals, group, terminal ------------------------------------------------------------------


def signal_state(how: spawn.Launch) -> dict[str, str]:
    how.argv = ("grep", "-E", "Sig(Ign|Blk|Pnd)|ShdPnd", "/proc/self/status")
    output = run(how)[0]
    masks = (line.split(":\t") for line in output.splitlines())
    return {name: f"{int(mask, 16) & ~proc.LIBRARY_SIGNALS:016x}" for name, mask in masks}


def test_a_worker_finds_the_signals_that_srvinit_found() -> None:
    """Blocked and ignored ones alike; what CPython ignores is default again (C8)."""

    def body() -> list[Any]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1})
        mask = signals.block()
        return [signal_state(launch(mask=mask, ignore_sigint=ignored)) for ignored in (False, True)]

    def bits(*numbers: int) -> str:
        return f"{sum(1 << number - 1 for number in numbers):016x}"

    left_alone, sigint_ignored = forked(body)
    nothing = bits()
    assert left_alone == {
        "SigPnd": nothing,
        "ShdPnd": nothing,
        "SigBlk": bits(signal.SIGUSR1),
        "SigIgn": bits(signal.SIGHUP, signal.SIGCHLD),
    }
    assert sigint_ignored["SigIgn"] == bits(signal.SIGHUP, signal.SIGINT, signal.SIGCHLD)


def test_sigint_found_ignored_stays_ignored() -> None:
    """As nohup or a script's `&` have left it, whatever worker.ignore_sigint says."""

    def body() -> str:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        mask = signals.block()
        return signal_state(launch(mask=mask, ignore_sigint=False))["SigIgn"]

    assert int(forked(body), 16) == 1 << signal.SIGINT - 1


def test_a_pipeline_in_a_worker_ends_by_sigpipe() -> None:
    def body() -> list[Any]:
        return run(launch("bash", "-c", "yes | head -1 >/dev/null; echo ${PIPESTATUS[0]}"))

    assert forked(body)[0] == "141\n"


def test_a_signal_between_fork_and_exec_is_not_lost() -> None:
    """Whenever it comes, before or after the exec, the worker ends by it (C7)."""

    def body() -> list[int]:
        mask = signals.block()
        codes = []
        for _ in range(60):
            child = spawn.spawn(launch("sleep", "60", mask=mask), 0, 0)
            signals.send(child.pid, "TERM")
            codes.append(ended(child.pid))
            os.close(child.exec_fd)
        return codes

    assert forked(body) == [-signal.SIGTERM] * 60


def test_a_worker_leads_its_own_group_as_soon_as_it_exists() -> None:
    """So a signal to the group, sent right after the spawn, reaches it and nobody else."""

    def body() -> list[int]:
        mask = signals.block()
        codes = []
        for _ in range(60):
            child = spawn.spawn(launch("sleep", "60", mask=mask), 0, 0)
            assert os.getpgid(child.pid) == child.pid
            assert signals.send_group(child.pid, "KILL")
            codes.append(ended(child.pid))
            os.close(child.exec_fd)
        return codes

    assert forked(body) == [-signal.SIGKILL] * 60


def inode_of(fd: int) -> int:
    return os.fstat(fd).st_ino
