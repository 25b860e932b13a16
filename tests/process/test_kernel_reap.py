"""Who has ended, looked at before it is reaped; and orphans that come to a subreaper."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proc
import pytest
from forked import forked, until

from srvinit import words
from srvinit.kernel import reap

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a PID namespace")


def child(work: Callable[[], object]) -> int:
    """Fork a child that does something and exits 0 if that did not end it."""
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        work()
        os._exit(0)
    return pid


def seen() -> reap.Ended:
    """Wait until a child has ended, and look at it."""
    ended: reap.Ended = until(reap.peek, "a child to end")
    return ended


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: os._exit(0), "exit 0"),
        (lambda: os._exit(3), "exit 3"),
        (lambda: os._exit(255), "exit 255"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 3), "SIGRTMIN+3"),
    ],
)
def test_an_end_is_seen_as_waitpid_tells_it(end: Callable[[], object], reason: str) -> None:
    def body() -> list[Any]:
        pid = child(end)
        ended = seen()
        assert ended.pid == pid
        return [ended.status == os.waitpid(pid, 0)[1], words.wait_status_reason(ended.status)]

    assert forked(body) == [True, reason]


def test_a_core_dump_is_seen_as_waitpid_tells_it(tmp_path: Path) -> None:
    """Whether there is one is the system's decision; that both agree is ours."""

    def body() -> bool:
        os.chdir(tmp_path)
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        child(lambda: os.kill(os.getpid(), signal.SIGQUIT))
        ended = seen()
        status = os.waitpid(ended.pid, 0)[1]
        return ended.status == status and ended.core_dumped == os.WCOREDUMP(status)

    assert forked(body)


def test_who_is_looked_at_stays_a_zombie_and_keeps_its_group_until_reaped() -> None:
    def body() -> list[Any]:
        def leave_a_member() -> None:
            os.setpgid(0, 0)
            if os.fork() == 0:
                signal.pause()

        reap.become_subreaper()
        pid = child(leave_a_member)
        first, second = seen(), seen()
        state = proc.state(pid)
        os.killpg(pid, signal.SIGKILL)
        reaped = [reap.reap(pid), reap.reap(pid)]
        orphan = seen()
        return [first == second, state, reaped, orphan.status, orphan.pid != pid]

    assert forked(body) == [True, "Z", [True, False], signal.SIGKILL, True]


def test_many_ends_behind_one_signal_are_all_seen() -> None:
    """SIGCHLD coalesces: looking goes on until nothing is left."""

    def body() -> list[Any]:
        pids = {child(lambda: None) for _ in range(20)}
        for pid in pids:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        found = []
        while (ended := reap.peek()) is not None:
            found.append(ended.pid)
            reap.reap(ended.pid)
        return [len(found), set(found) == pids, reap.has_children()]

    assert forked(body) == [20, True, False]


def test_living_children_and_none_at_all_are_nothing_to_see() -> None:
    def body() -> list[Any]:
        none = [reap.peek() is None, reap.take_stopped() is None, reap.has_children()]
        pid = child(signal.pause)
        some = [reap.peek() is None, reap.reap(pid), reap.has_children()]
        os.kill(pid, signal.SIGKILL)
        return [none, some]

    assert forked(body) == [[True, True, False], [True, False, True]]


def test_a_subreaper_gets_the_orphans_of_its_descendants() -> None:
    """Without the package ctypes, which costs a start too much."""

    def body() -> list[Any]:
        before = set(sys.modules)
        became = reap.become_subreaper()
        imported = set(sys.modules) - before

        def orphan() -> None:
            if os.fork() == 0:
                signal.pause()

        parent = child(orphan)
        seen()
        reap.reap(parent)
        children = reap.children_of_self()
        for pid in children.pids:
            os.kill(pid, signal.SIGKILL)
        adopted = seen()
        return [became, "ctypes" in imported, children.is_known, children.pids == [adopted.pid]]

    assert forked(body) == [True, False, True, True]


def test_stops_are_told_once_and_do_not_hide_ends() -> None:
    """In a group of its own, as a worker is: in ours, an orphaned one, TSTP would not stop it."""

    def body() -> list[Any]:
        pid = child(signal.pause)
        os.setpgid(pid, pid)
        told = []
        for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGSTOP):
            os.kill(pid, number)
            stopped = until(reap.take_stopped, f"the child to follow {number!r}")
            told.append([stopped.pid == pid, stopped.number, reap.take_stopped() is None])
        running = reap.peek() is None
        os.kill(pid, signal.SIGKILL)
        return [told, running, seen().status]

    told, running, status = forked(body)
    assert told == [[True, signal.SIGTSTP, True], [True, 0, True], [True, signal.SIGSTOP, True]]
    assert (running, status) == (True, signal.SIGKILL)


def test_both_ways_to_list_the_children_agree() -> None:
    """By the kernel's list, and by asking everybody where that is not compiled in."""

    def body() -> list[Any]:
        living, dead = child(signal.pause), child(lambda: None)
        seen()
        listed, scanned = reap._listed_children(), reap._scanned_children()
        os.kill(living, signal.SIGKILL)
        return [sorted(listed or []) == sorted([living, dead]), set(scanned) == {living, dead}]

    assert forked(body) == [True, True]


def test_a_parent_is_found_whatever_the_process_calls_itself(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to(sys.executable)

    def body() -> bool:
        read_fd, write_fd = os.pipe()
        os.set_inheritable(write_fd, True)  # noqa: FBT003  the call has no other form
        script = f"import os, signal; os.write({write_fd}, b'x'); signal.pause()"
        pid = child(lambda: os.execv(odd, [str(odd), "-I", "-S", "-c", script]))
        assert os.read(read_fd, 1) == b"x"
        assert proc.status_field(pid, "Name") == odd.name
        return reap.parent_of(pid) == os.getpid() and reap.parent_of(2**22) == 0

    assert forked(body)


IN_A_NAMESPACE = """
import json, os, signal
from srvinit.kernel import reap
if os.fork() == 0:
    signal.pause()
children = reap.children_of_self()
print(json.dumps([children.pids, children.is_known]))
"""


@as_root
@pytest.mark.parametrize("hide", ["true", "mount -t tmpfs none /proc"])
def test_a_proc_that_is_not_ours_is_not_believed(hide: str) -> None:
    """Of another PID namespace, or missing: better no pids than other processes' ones."""
    command = ["unshare", "-pfm", "sh", "-c", f'{hide} && exec "$@"', "sh"]
    done = subprocess.run(
        [*command, sys.executable, "-c", IN_A_NAMESPACE],
        cwd=ROOT,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert json.loads(done.stdout) == [[], False]
