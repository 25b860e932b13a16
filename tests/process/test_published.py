"""The status as srvinit publishes it: where, when, to whom, and what happens if it cannot."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from asking import ask_ctl, place, status_of, wait_status
from published import VALIDATOR
from scenes import BIND, LISTEN, QUICK, WEB, as_root, at, start_web, stop

from srvinit import STATUS_FD

if TYPE_CHECKING:
    from harness import Srvinit
    from scenes import Start

LIBRARY = Path(__file__).parent / "apps" / "counting.py"


def limited(files: int) -> tuple[str, ...]:
    return ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh")


def occupying(fd: int) -> tuple[str, ...]:
    """Return what to put before a command to start it with this descriptor in use."""
    return ("sh", "-c", f'exec {sys.executable} -S -c "$0" "$@"', OCCUPY.replace("FD", str(fd)))


OCCUPY = "import os, sys; os.dup2(0, FD); os.execvp(sys.argv[1], sys.argv[1:])"


# --- what it says --------------------------------------------------------------------------------


def test_the_status_is_the_schemas_at_every_moment(srvinit: Start) -> None:
    """All that a pool publishes while it starts, crashes, recycles, scales and stops."""
    times = (QUICK, "--restart-delay=100ms", "--shutdown-delay=300ms")
    pool = srvinit(BIND, "-w3", *LISTEN, *times, "--", *WEB, pid1=True)
    seen: dict[int, dict[str, object]] = {}

    def note(wanted: str) -> None:
        def look() -> bool:
            status = status_of(pool)
            if status:
                seen[status["serial"]] = status
            return bool(pool.found(wanted))

        proc.wait_until(look, 30, wanted)

    note("srvinit.ready")
    os.kill(pool.workers()[0], 9)
    note("worker.exited")
    pool.signal("HUP")
    note("recycle.finished")
    pool.signal("TTOU")
    note("count.changed")
    pool.signal("TERM")
    note("shutdown.started")
    assert pool.exit_status() == 0
    faults = [fault.message for one in seen.values() for fault in VALIDATOR.iter_errors(one)]
    assert faults == []
    assert len(seen) > 5
    assert "draining" in {one["phase"] for one in seen.values()}


def test_the_status_names_the_workers_and_sockets_that_there_are(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w2", pid1=False)
    status = wait_status(pool, lambda one: one["settled"] == 2)

    assert sorted(one["pid"] for one in status["workers"]) == sorted(pool.workers())
    (socket,) = status["sockets"]
    links = {proc.link(f"/proc/{pool.workers()[0]}/fd/{fd}") for fd in range(3, 9)}
    assert f"socket:[{socket['inode']}]" in links
    assert socket["address"] == pool.found("socket.bound")[0]["address"]
    assert status["pid"] == pool.pid


def test_steered_sockets_stand_by_the_seats_of_their_workers(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w2", "--bind-mode=steered")
    status = wait_status(pool, lambda one: one["settled"] == 2)
    if pool.found("socket.unsteered"):
        harness.missing("a kernel that steers")

    assert {one["seat"] for one in status["sockets"]} == {one["seat"] for one in status["workers"]}
    assert len({one["inode"] for one in status["sockets"]}) == 2


def test_c38_readiness_is_off_before_anything_is_stopped(srvinit: Start) -> None:
    """Told in the turn that took TERM in; the drain serves on, and live stays true to the end."""
    pool = start_web(srvinit, "-w2", "--shutdown-delay=1s")
    wait_status(pool, lambda one: one["ready"])

    pool.signal("TERM")
    off = wait_status(pool, lambda one: not one["ready"])
    asked = pool.wait_event("shutdown.started")
    served = off["serving"]
    pool.exit_status()

    assert (off["phase"], off["live"], served) == ("draining", True, 2)
    assert off["published_at"] - at(asked) < 0.1 + 1.0, "a second is for a slow machine"
    assert off["published_at"] < at(pool.found("worker.stopping")[0])


def test_c51_no_argument_and_no_variable_is_in_the_status(srvinit: Start) -> None:
    words = ("sh", "-c", "sleep 1000", "x", "--password=hunter2")
    pool = srvinit("-w1", "--worker-env=KEY=s3cr3t", "--", *words, environ={"TOKEN": "s3cr3t"})
    wait_status(pool, lambda one: one["ready"])

    text = proc.read(place(pool.pid)).decode()

    assert "hunter2" not in text
    assert "s3cr3t" not in text


# --- whose it is ---------------------------------------------------------------------------------


def test_nobody_can_change_what_is_published(srvinit: Start) -> None:
    """Not even root: through its place in /proc it can be opened for writing, and not written."""
    pool = start_web(srvinit, "-w1")
    path = place(pool.pid)
    before = wait_status(pool, lambda one: one["settled"] == 1)

    fd = os.open(path, os.O_RDWR)
    tries = (
        lambda: os.write(fd, b"{}"),
        lambda: os.ftruncate(fd, 0),
        lambda: os.ftruncate(fd, 1 << 20),
        lambda: mmap.mmap(fd, 0),
        lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0),
        lambda: os.open(path, os.O_WRONLY | os.O_TRUNC),
    )
    refused = []
    for attempt in tries:
        with pytest.raises(OSError, match="not permitted") as caught:
            attempt()
        refused.append(caught.value.errno)
    os.close(fd)

    assert set(refused) == {errno.EPERM}
    assert status_of(pool) == before


def test_a_reader_keeps_what_it_has_opened(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w1")
    before = wait_status(pool, lambda one: one["settled"] == 1)
    with Path(place(pool.pid)).open("rb") as opened:
        pool.signal("TTIN")
        wait_status(pool, lambda one: one["count"] == 2)

        assert f'"serial": {before["serial"]},' in opened.read().decode()


def test_no_worker_inherits_the_status(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w2")
    wait_status(pool, lambda one: one["settled"] == 2)

    assert [place(worker) for worker in pool.workers()] == ["", ""]
    assert place(pool.pid)


def test_no_callable_inherits_the_status(srvinit: Start) -> None:
    port = str(harness.free_port())
    pool = srvinit("named", run=[sys.executable, str(LIBRARY)], environ={"PORT": port})
    pool.wait_event("srvinit.ready", within=20)
    wait_status(pool, lambda one: one["ready"])
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20)  # forked while there was a status

    assert [place(worker) for worker in pool.workers()] == [""] * len(pool.workers())
    assert len(pool.workers()) > 1


# --- where it is ---------------------------------------------------------------------------------


def test_it_is_at_the_descriptor_that_the_docs_name(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w1")

    assert place(pool.pid) == f"/proc/{pool.pid}/fd/{STATUS_FD}"


@pytest.mark.parametrize(
    "prefix", [limited(32), occupying(STATUS_FD)], ids=["a low limit", "a number in use"]
)
def test_where_that_number_cannot_be_had_it_is_at_another(
    srvinit: Start, prefix: tuple[str, ...]
) -> None:
    pool = start_web(srvinit, "-w2", prefix=prefix)

    assert place(pool.pid) not in {"", f"/proc/{pool.pid}/fd/{STATUS_FD}"}
    assert wait_status(pool, lambda one: one["settled"] == 2)["ready"]
    assert stop(pool) == 0
    assert pool.found("status.unavailable") == []


@as_root
def test_sockets_that_were_handed_over_keep_their_numbers(srvinit: Start) -> None:
    """Seventy of them, so that one stands where the status would."""
    script = (
        "import os, socket, sys\n"
        "made = [socket.create_server(('127.0.0.1', 0)) for _ in range(70)]\n"
        "for fd, one in enumerate(made, 200): os.dup2(one.fileno(), fd)\n"
        "for fd in range(70): os.dup2(200 + fd, 3 + fd)\n"
        "os.closerange(73, 400)\n"
        "os.environ.update(LISTEN_FDS='70', LISTEN_PID=str(os.getpid()))\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    pool = srvinit("-w1", "--", "sleep", "1000", prefix=(sys.executable, "-S", "-c", script))
    pool.wait_event("srvinit.ready")
    status = wait_status(pool, lambda one: one["ready"])

    assert len(status["sockets"]) == 70
    (worker,) = pool.workers()
    inodes = {f"socket:[{one['inode']}]" for one in status["sockets"]}
    assert {proc.link(f"/proc/{worker}/fd/{fd}") for fd in range(3, 73)} == inodes


# --- if it cannot be -----------------------------------------------------------------------------


def refusing(error: str) -> tuple[str, ...]:
    """Return what to put before srvinit to have its memfd_create fail, and no worker's."""
    inject = f"inject=memfd_create:error={error}"
    return (harness.program("strace"), "-qq", "-o/dev/null", "-e", inject)


@as_root
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EMFILE", "ENOMEM"])
def test_where_it_cannot_be_published_that_is_said_once_and_all_goes_on(
    srvinit: Start, error: str
) -> None:
    """EPERM and ENOSYS are a filter's: there is no other try. The rest may be over in a second."""
    pool = srvinit(BIND, "-w2", *LISTEN, QUICK, "--", *WEB, prefix=refusing(error))
    pool.wait_event("srvinit.ready", within=30)
    said = pool.wait_event("status.unavailable")
    for _ in range(2):
        seen = len(pool.events)
        os.kill(srvinit_below(pool), 1)
        pool.wait_event("recycle.finished", within=30, since=seen)
    os.kill(srvinit_below(pool), 15)

    assert pool.exit_status(20) == 0
    assert error in said["error"]
    assert len(pool.found("status.unavailable")) == 1
    assert pool.found("srvinit.fault") == []


def srvinit_below(pool: Srvinit) -> int:
    """Return the pid of the srvinit that strace runs."""
    return proc.children(pool.pid)[0]


@as_root
def test_a_wrong_ready_is_taken_away_and_a_right_one_comes_back(srvinit: Start) -> None:
    """No descriptor left: what says ready goes at once; whoever looks finds no status."""
    pool = start_web(srvinit, "-w2", "--shutdown-delay=30s")
    wait_status(pool, lambda one: one["ready"] and one["settled"] == 2)
    before = resource.prlimit(pool.pid, resource.RLIMIT_NOFILE)

    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    pool.signal("TERM")
    pool.wait_event("status.unavailable")
    gone = place(pool.pid)
    answers = [ask_ctl(pool, word) for word in ("ready", "live")]
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, before)
    back = wait_status(pool, lambda one: one["phase"] == "draining")

    assert gone == ""
    assert [answer.status for answer in answers] == [1, 0]
    assert back["ready"] is False
    pool.signal("INT")
    assert pool.exit_status() == 0
    assert len(pool.found("status.unavailable")) == 1
