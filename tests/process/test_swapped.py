"""One queue for all, swapped by a recycle: no new connection is lost to the old ones' end.

The servers are the worst there is (workers/bare.py: it dies of its stop signal wherever it is) and
node, for which a queue for each worker costs latency.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proc
import pytest
from load import Load
from scenes import port_of, python, rounds, start_web, stop
from steered import CLIENTS, RATE, answers, finish, freeze, hello, lost, serving

if TYPE_CHECKING:
    from harness import Srvinit
    from scenes import Start

SWAPPED = "--bind-mode=swapped"
NODE = ["node", str(Path(__file__).parents[1] / "interop" / "servers" / "server.js")]


def start(srvinit: Start, *options: str, **how: Any) -> Srvinit:
    command = how.pop("command", None) or python("bare.py", "0")
    return start_web(srvinit, SWAPPED, *options, command=command, pid1=True, **how)


def sockets_of(pool: Srvinit, pid: int) -> set[str]:
    folder = Path(f"/proc/{pool.outside(pid)}/fd")
    return {link for fd in folder.iterdir() if (link := proc.link(fd)).startswith("socket:")}


def test_all_workers_have_the_same_sockets_and_their_successors_others(srvinit: Start) -> None:
    pool = start(srvinit, "-w3", "--bind=127.0.0.1:0")
    first = [sockets_of(pool, event["pid"]) for event in serving(pool)]
    assert len(first) == 3
    assert first[0] == first[1] == first[2]
    assert len(first[0]) == 2
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    second = [sockets_of(pool, event["pid"]) for event in serving(pool)]
    assert second[0] == second[1] == second[2]
    assert first[0].isdisjoint(second[0])
    finish(pool)


@pytest.mark.parametrize(
    "command",
    [
        None,
        pytest.param(
            NODE,
            marks=pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
        ),
    ],
    ids=["a bare accept loop", "node"],
)
def test_recycles_lose_no_new_connection(srvinit: Start, command: list[str] | None) -> None:
    pool = start(srvinit, "-w2", command=command)
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, rounds(3, 20) + 1):
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=30, generation=turn + 1)
        load.wait_requests(50)
        assert lost(load.stop()) == []
    assert len(pool.found("worker.quiescing")) == 2 * turn
    finish(pool)


def test_nobody_new_comes_to_those_who_are_to_follow_before_all_have_settled(
    srvinit: Start,
) -> None:
    """And nobody to the old ones from then on."""
    pool = start(srvinit, "-w2", "--recycle-settle=2s", "--worker-quiesce=2s")
    old = {event["pid"] for event in serving(pool)}
    pool.signal("HUP")
    pool.wait_event("worker.ready", nth=4, within=20)
    assert answers(hello(port_of(pool), 40)).keys() <= old
    pool.wait_event("worker.quiescing", nth=2, within=20)
    new = {event["pid"] for event in serving(pool)} - old
    assert answers(hello(port_of(pool), 40)).keys() <= new
    pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_the_old_group_serves_on_where_the_new_ones_fail(srvinit: Start, tmp_path: Path) -> None:
    """One that fails is enough; what the others had become is of no use."""
    works, good = tmp_path / "serve", python("bare.py", "0")
    works.write_text("#!/bin/sh\nexec " + " ".join(good) + "\n")
    works.chmod(0o755)
    pool = start(srvinit, "-w2", "--recycle-retries=2", command=[str(works)])
    old = {event["pid"] for event in serving(pool)}
    works.write_text('#!/bin/sh\n[ "$SRVINIT_WORKER" = 1 ] && exit 3\nexec ' + " ".join(good))
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        pool.signal("HUP")
        failed = pool.wait_event("recycle.failed", within=30)
        pool.wait_event("worker.exited", within=20, slot=0, generation=2)
        load.wait_requests(50)
        assert lost(load.stop()) == []
    assert (failed["kept"], {event["pid"] for event in serving(pool)}) == (2, old)
    works.write_text("#!/bin/sh\nexec " + " ".join(good) + "\n")
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    finish(pool)


@pytest.mark.parametrize("moment", ["worker.ready", "worker.quiescing"])
def test_term_in_the_middle_of_a_recycle_cuts_nobody(srvinit: Start, moment: str) -> None:
    """Before the swap and after it; who comes too late is refused, and may try elsewhere."""
    pool = start(srvinit, "-w2")
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(100)
        pool.signal("HUP")
        pool.wait_event(moment, within=20, generation=2 if moment == "worker.ready" else 1)
        finish(pool)
        figures = load.stop()["new"]
    assert figures["ok"] > RATE / 10
    assert figures["lost"] == figures["refused"]


def test_over_ipv6_nothing_is_lost_either(srvinit: Start) -> None:
    """The second of two addresses, both swapped at once."""
    pool = start(srvinit, "-w2", "--bind=[::1]:0")
    port = pool.wait_event("socket.bound", nth=2)["address"].rpartition(":")[2]
    with Load(f"[::1]:{port}", new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, rounds(2, 20) + 1):
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=30, generation=turn + 1)
        load.wait_requests(50)
        assert lost(load.stop()) == []
    finish(pool)


def test_where_the_kernel_does_not_steer_it_is_said_once_and_all_share_a_socket(
    srvinit: Start,
) -> None:
    pool = start(srvinit, "-w2", prefix=python("refusing.py", "steering"))
    (said,) = pool.found("socket.unsteered")
    assert said["level"] == "warning"
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    assert answers(hello(port_of(pool), 5)).total() == 5
    assert pool.found("worker.quiescing") == []
    assert stop(pool) == 0


def test_crashes_under_load_lose_no_more_than_was_accepted(srvinit: Start) -> None:
    """That is one request each: the server takes one at a time."""
    pool = start(srvinit, "-w2", "--restart-delay=100ms", "--restart-limit=0")
    crashes = rounds(2, 10)
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, crashes + 1):
            os.kill(pool.outside(serving(pool)[0]["pid"]), signal.SIGKILL)
            pool.wait_event("worker.ready", within=20, nth=2 + turn)
            load.wait_requests(50)
        losses = lost(load.stop())
    assert len(losses) <= crashes
    assert {loss["how"] for loss in losses} <= {"reset", "no_answer"}
    finish(pool)


def test_a_shutdown_answers_all_who_wait_in_the_one_queue(srvinit: Start) -> None:
    """In the middle of a recycle: nobody has settled who could follow."""
    pool = start(srvinit, "-w2", "--recycle-settle=1h")
    old = serving(pool)
    pool.signal("HUP")
    pool.wait_event("worker.ready", within=20, nth=4)
    frozen = [freeze(pool, event["pid"]) for event in old]
    waiting = hello(port_of(pool), 40)
    pool.signal("TERM")
    pool.wait_event("worker.quiescing")
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    counted = answers(waiting)
    assert counted.total() == 40
    assert counted.keys() <= {event["pid"] for event in old}
    assert pool.exit_status() == 0


def test_a_crashed_workers_queue_is_the_others(srvinit: Start) -> None:
    """It takes nobody with it but those whom it had accepted."""
    pool = start(srvinit, "-w2", "--restart-delay=1s")
    frozen = {event["pid"]: freeze(pool, event["pid"]) for event in serving(pool)}
    waiting = hello(port_of(pool), 20)
    (dead, killed), (left, living) = frozen.items()
    os.kill(killed, signal.SIGKILL)
    pool.wait_event("worker.exited", pid=dead)
    os.kill(living, signal.SIGCONT)
    assert answers(waiting) == {left: 20}
    pool.wait_event("worker.ready", nth=3, within=20)
    assert stop(pool) == 0
