"""Recycles lose nothing, stay within their room, and give up rather than break what works."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import proc
import pytest
from load import Load
from scenes import (
    BIND,
    SLACK_S,
    WEB,
    at,
    is_pending,
    port_of,
    python,
    rounds,
    start_talk,
    start_web,
    stop,
)

if TYPE_CHECKING:
    from harness import Srvinit
    from scenes import Start

# Starts as long as the file "bad" is not there; what it runs is in its arguments.
UNLESS_BAD = ("sh", "-c", 'test -e bad && exit 1; exec "$@"', "sh")


class Watcher:
    """Samples the number of srvinit's children, in a thread, while in its `with`."""

    def __init__(self, pool: Srvinit) -> None:
        self._pid = pool.pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, len(proc.children(self._pid)))


def replay(pool: Srvinit) -> tuple[int, int]:
    """Return the most live workers, and the least ready ones, that the log has after the start.

    Ready counts as DESIGN does: it has stayed ready for recycle.settle, and was not asked to stop.
    """
    live: set[int] = set()
    ready: set[int] = set()
    most, least = 0, 10**6
    has_begun = False
    for event in pool.events:
        if event["event"] == "shutdown.started":
            break
        if event["event"] == "worker.started":
            live.add(event["pid"])
        elif event["event"] == "worker.settled":
            ready.add(event["pid"])
        elif event["event"] in {"worker.stopping", "worker.exited"}:
            ready.discard(event["pid"])
        if event["event"] == "worker.exited":
            live.discard(event["pid"])
        if event["event"] == "recycle.started":
            has_begun = True
        most = max(most, len(live))
        if has_begun:
            least = min(least, len(ready))
    return most, least


def recycle(pool: Srvinit) -> dict[str, Any]:
    """Send HUP and wait until the recycle is over; return its last event."""
    seen = len(pool.events)
    pool.signal("HUP")
    return pool.wait_event("recycle.finished", within=60, since=seen)


# --- readiness decides -----------------------------------------------------------------------


def test_c21_the_old_worker_answers_until_the_new_one_is_ready(srvinit: Start) -> None:
    """One slow worker under load: no request is lost, the old pid answers all through BOOT.

    BOOT=1 here, where the case says 5.
    """
    pool = start_web(srvinit, "-w1", environ={"BOOT": "1"})
    # A rate at which web.py, once told to stop, finds 50 ms in which nobody comes
    with Load(port_of(pool), new=8, kept=0, rate=60, timeout=5) as load:
        load.wait_requests(20)
        recycle(pool)
        load.wait_requests(20)
        figures = load.stop()
    old, new = (event["pid"] for event in pool.found("worker.started"))
    assert figures["new"]["lost"] == 0
    assert set(figures["workers"]) == {str(old), str(new)}
    ready, stopping = pool.found("worker.ready", pid=new)[0], pool.found("worker.stopping")[0]
    assert stopping["pid"] == old
    assert at(stopping) > at(ready)
    assert at(ready) - at(pool.found("recycle.started")[0]) >= 1
    assert stop(pool) == 0


def test_c24_a_new_version_that_does_not_start_costs_nobody_anything(
    srvinit: Start, tmp_path: Path
) -> None:
    """The old workers stay, no request is lost, one recycle.failed says why; HUP tries afresh."""
    options = ("-w2", "--restart-delay=50ms")
    pool = start_web(srvinit, *options, command=[*UNLESS_BAD, *WEB], cwd=tmp_path)
    old = set(pool.workers())
    with Load(port_of(pool), new=8, kept=0, rate=100, timeout=5) as load:
        load.wait_requests(20)
        (tmp_path / "bad").touch()
        pool.signal("HUP")
        failed = pool.wait_event("recycle.failed")
        load.wait_requests(20)
        assert set(pool.workers()) == old
        assert failed["failures"] == 3
        assert "exit 1" in failed["last"]
        (tmp_path / "bad").unlink()
        recycle(pool)
        figures = load.stop()
    assert figures["new"]["lost"] == 0
    assert len(pool.found("recycle.failed")) == 1
    assert not old & set(pool.workers())
    assert stop(pool) == 0


def test_a_worker_that_dies_while_it_settles_replaces_nobody(srvinit: Start) -> None:
    """Ready is not enough: one that ends within recycle.settle counts as a failure."""
    command = ["sh", "-c", "[ $SRVINIT_GENERATION = 1 ] && exec sleep 1000; sleep 0.05; exit 0"]
    pool = srvinit(
        "-w1", "--recycle-settle=300ms", "--restart-delay=10ms", "--", *command, pid1=True
    )
    pool.wait_event("worker.ready")
    old = pool.workers()
    pool.signal("HUP")
    pool.wait_event("recycle.failed")
    proc.wait_until(lambda: pool.workers() == old, 5, "the old worker alone to be left")
    assert len(pool.found("worker.ready", generation=2)) == 3
    assert pool.found("worker.stopping") == []
    assert stop(pool) == 0


def test_a_new_worker_that_never_gets_ready_is_killed_and_counted(srvinit: Start) -> None:
    """worker.timeout: the group is killed, and three of them end the recycle; the old one stays."""
    command = [
        "sh",
        "-c",
        '[ $SRVINIT_GENERATION = 1 ] || { sleep 1000 & echo stuck; wait; }; exec "$@"',
        "sh",
        *WEB,
    ]
    options = ("-w1", "--worker-timeout=500ms", "--restart-delay=0")
    pool = srvinit(BIND, "--worker-require=listen", *options, "--", *command, pid1=True)
    pool.wait_event("srvinit.ready")
    old = pool.workers()
    pool.signal("HUP")
    assert pool.wait_event("recycle.failed")["failures"] == 3
    proc.wait_until(lambda: pool.workers() == old, 5, "the old worker alone to be left")
    assert pool.output == b"stuck\n" * 3
    assert [event["waited_s"] > 0.49 for event in pool.found("worker.killed")] == [True] * 3
    assert len(pool.everything()) == 1, "a group outlived its leader"
    assert stop(pool) == 0


# --- room ------------------------------------------------------------------------------------


def test_c25_old_workers_held_by_long_requests_do_not_pile_up(srvinit: Start) -> None:
    """HUP after HUP with a held request per worker: never more than count + 1, each killed in time.

    recycle.timeout=1s and a HUP every 0.3 s here, where the case says 2 s and 1 s.
    """
    pool = start_web(srvinit, "-w2", "--recycle-timeout=1s", environ={"SLOW": "60"})
    port = port_of(pool)
    held = []
    for worker in pool.workers():  # one request each: the others are stopped meanwhile
        others = [other for other in pool.workers() if other != worker]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        held.append(socket.create_connection(("127.0.0.1", port)))
        held[-1].sendall(b"GET / HTTP/1.0\r\n\r\n")
        proc.wait_until(lambda pid=worker: threads(pid) == 2, 5, "a worker to take a request")
        for other in others:
            os.kill(other, signal.SIGCONT)
    first = {event["pid"] for event in pool.found("worker.started")}
    with Watcher(pool) as watcher:
        for _ in range(5):
            pool.signal("HUP")
            time.sleep(0.3)  # the case's rhythm: it waits for nothing
        pool.wait_event("recycle.finished", within=20, nth=2)
    for one in held:
        one.close()
    assert watcher.most == 3
    killed = pool.found("worker.killed")
    assert {event["pid"] for event in killed} == first
    for event in killed:
        stopping = pool.found("worker.stopping", pid=event["pid"])[0]
        assert 0.99 < at(event) - at(stopping) < 1 + SLACK_S
        assert event["waited_s"] > 0.99
    assert len(pool.found("recycle.finished")) == 2
    assert stop(pool) == 0


def threads(pid: int) -> int:
    return int(proc.status_field(pid, "Threads") or "0")


def test_c26_a_recycle_needs_room_for_one_worker_more(srvinit: Start) -> None:
    """count=8: never more than 9 workers, never fewer than 8 ready ones."""
    pool = start_talk(srvinit, "--log-level=debug", count=8)
    pool.wait_event("worker.settled", nth=8)
    with Watcher(pool) as watcher:
        assert recycle(pool)["replaced"] == 8
    assert watcher.most == 9
    assert replay(pool) == (9, 8)
    assert stop(pool) == 0


@pytest.mark.parametrize(
    ("surge", "missing", "most", "least"),
    [("0", "1", 4, 3), ("2", "0", 6, 4), ("50%", "25%", 6, 3), ("0", "50%", 4, 2)],
)
def test_room_is_what_the_settings_say(
    srvinit: Start, surge: str, missing: str, most: int, least: int
) -> None:
    """max_surge and max_unavailable bound a recycle of four, and the room they give is used."""
    options = (f"--recycle-max-surge={surge}", f"--recycle-max-unavailable={missing}")
    pool = start_talk(srvinit, *options, "--log-level=debug", count=4, words=("linger=0.1",))
    pool.wait_event("worker.settled", nth=4)
    recycle(pool)
    assert replay(pool) == (most, least)
    assert stop(pool) == 0


# --- asked again and again -------------------------------------------------------------------


def test_hups_during_a_recycle_cause_one_further_pass(srvinit: Start) -> None:
    """Any number of them, one pass, begun after the last: the newest code is what runs."""
    pool = start_talk(srvinit, count=2, words=("linger=0.3",))
    pool.signal("HUP")
    pool.wait_event("recycle.started", generation=2)
    for _ in range(20):
        pool.signal("HUP")
        proc.wait_until(lambda: not is_pending(pool.pid, "HUP"), 5, "a HUP to be taken in")
    last_sent_at = time.time()
    assert pool.found("recycle.finished") == [], "too late for this test"
    pool.wait_event("recycle.finished", generation=3)
    assert at(pool.found("recycle.started", generation=3)[0]) > last_sent_at
    pool.signal("TTIN")  # had there been a third pass, it would be under way by now
    pool.wait_event("worker.ready", slot=2, generation=3)
    assert [event["generation"] for event in pool.found("recycle.finished")] == [2, 3]
    assert {event["generation"] for event in pool.found("worker.started")} == {1, 2, 3}
    assert stop(pool) == 0


def test_a_storm_of_hups_is_survived(srvinit: Start) -> None:
    """10,000 HUPs as fast as they can be sent: some recycles, a short log, and srvinit obeys."""
    pool = start_talk(srvinit, count=2)
    for _ in range(10_000):
        pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20)
    assert stop(pool) == 0
    assert len(pool.events) < 200
    assert len(pool.found("recycle.started")) < 10


def test_a_storm_of_hups_before_the_first_worker_is_survived(srvinit: Start) -> None:
    """HUPs from the very first moment: the workers start, and are recycled once or twice."""
    pool = srvinit("-w2", "--recycle-settle=50ms", "--", "sleep", "1000", pid1=True)
    while not pool.found("srvinit.ready"):
        pool.signal("HUP")
        assert pool.is_running
    pool.wait_event("recycle.finished", within=20)
    assert stop(pool) == 0
    assert len(pool.found("recycle.started")) < 10


def test_a_worker_that_crashes_during_a_recycle_is_made_good(srvinit: Start) -> None:
    """An old worker dies before its turn: in the end there are count new ones, and no old one."""
    pool = start_talk(srvinit, "--restart-delay=0", count=3, words=("linger=0.2",))
    first = pool.workers()
    last = max(pool.found("worker.started"), key=lambda event: event["slot"])["pid"]
    pool.signal("HUP")
    pool.wait_event("worker.stopping")
    os.kill(pool.outside(last), signal.SIGKILL)
    pool.wait_event("recycle.finished")
    assert len(pool.workers()) == 3
    assert not set(first) & set(pool.workers())
    assert stop(pool) == 0


# --- the file --------------------------------------------------------------------------------


def test_c27_hup_reads_the_file_again(srvinit: Start, tmp_path: Path) -> None:
    """worker.count 2, 4, 1 by a HUP each; a faulty file keeps what runs, and says where."""
    file = tmp_path / "srvinit.toml"
    file.write_text("[worker]\ncount = 2\n")
    pool = srvinit(f"--config={file}", "--recycle-settle=50ms", "--", "sleep", "1000", pid1=True)
    pool.wait_event("srvinit.ready")
    for count in (4, 1):
        file.write_text(f"[worker]\ncount = {count}\n")
        recycle(pool)
        assert len(pool.workers()) == count
        assert pool.found("config.read")[-1]["changed"] == ["worker.count"]
    recycle(pool)
    assert pool.found("config.read")[-1]["changed"] == []
    old = pool.workers()

    file.write_text("[worker]\ncount = 3\nrequier = 'listen'\n")
    recycle(pool)
    rejected = pool.found("config.rejected")
    assert len(rejected) == 1
    (fault,) = rejected[0]["faults"]
    assert fault.startswith(f"{file}:3: worker.requier")
    assert "worker.require" in fault.partition("did you mean")[2]
    assert len(pool.workers()) == 1
    assert pool.workers() != old
    assert stop(pool) == 0


@pytest.mark.parametrize(
    "text",
    ["[worker\n", "\x00\xff", "worker = 3\n", None],
    ids=["syntax", "binary", "type", "gone"],
)
def test_a_broken_file_on_hup_keeps_the_settings(
    srvinit: Start, tmp_path: Path, text: str | None
) -> None:
    """No TOML, no text, no table, no file: config.rejected names the file, the recycle goes on."""
    file = tmp_path / "srvinit.toml"
    file.write_text("[worker]\ncount = 2\n")
    pool = srvinit(f"--config={file}", "--recycle-settle=0", "--", "sleep", "1000", pid1=True)
    pool.wait_event("srvinit.ready")
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text.encode("latin-1"))
    assert recycle(pool)["replaced"] == 2
    assert str(file) in " ".join(pool.found("config.rejected")[0]["faults"])
    assert stop(pool) == 0


def test_bind_in_the_file_changes_with_a_hup(srvinit: Start, tmp_path: Path) -> None:
    """The new address serves after the recycle, the old one refuses; others are left alone."""
    file = tmp_path / "srvinit.toml"
    old, new = os.fspath(tmp_path / "old.sock"), os.fspath(tmp_path / "new.sock")
    text = '[worker]\nrequire = "listen"\ntimeout = 30\ncount = 1\n[recycle]\nsettle = 0\n'
    file.write_text(f'bind = ["unix:{old}"]\n{text}')
    pool = srvinit(f"--config={file}", "--", *WEB, pid1=True)
    pool.wait_event("srvinit.ready")
    file.write_text(f'bind = ["unix:{new}"]\n{text}')
    recycle(pool)
    pool.wait_event("socket.closed", address=f"unix:{old}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(new)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 200")
    assert not Path(old).exists()
    assert stop(pool) == 0


# --- under load ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["new", "kept"])
def test_c28_recycles_under_load_lose_no_request(srvinit: Start, kind: str) -> None:
    """New connections, then keep-alive clients: 0 failed of all.

    2 recycles each here; SRVINIT_ROUNDS=full makes it 10.
    """
    command = WEB if kind == "new" else python("kept.py")
    pool = start_web(srvinit, "-w4", command=command)
    clients = {"new": 0, "kept": 0, kind: 20}
    with Load(port_of(pool), rate=200, **clients) as load:
        load.wait_requests(100)
        for _ in range(rounds(2, 10)):
            recycle(pool)
            load.wait_requests(100)
        figures = load.stop()
    assert figures[kind]["ok"] == figures[kind]["requests"] >= 300
    assert figures[kind]["lost"] == 0
    if kind == "kept":
        assert figures["kept"]["connections"] < figures["kept"]["requests"] / 2, "nothing was kept"
    assert {event["status"] for event in pool.found("worker.exited")} == {0}
    assert stop(pool) == 0
