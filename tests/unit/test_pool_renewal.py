"""Recycling by itself: by age, by size (one slot at a time), by a path that changed."""

from __future__ import annotations

import pytest
from pools import generations, settled
from simulated import Behaviour, in_turn

from srvinit.lifecycle import events
from srvinit.lifecycle.renewal import SIZE_PAUSE_S

LIMIT = 1000
AT_ONCE = {"recycle_max_surge": 3, "recycle_max_unavailable": 3}


def slots_begun(world) -> list[int]:
    """List the slots whose workers were asked to go, in this order."""
    return [line["slot"] for line in world.lines("worker.stopping")]


def test_a_worker_that_is_too_large_is_recycled_alone() -> None:
    """By the same loop: its replacement first."""
    world = settled(3)

    world.feed(events.TooLarge(101, 1500, LIMIT))
    world.run(30)

    assert generations(world) == [1, 2, 1]
    (line,) = world.lines("worker.too_large")
    assert (line["slot"], line["size"], line["limit"], line["next"]) == (1, 1500, LIMIT, "")
    (begun,) = world.lines("recycle.started")
    assert (begun["why"], begun["workers"]) == ("worker.max_memory", 1)
    assert world.times("worker.ready")[3] < world.times("worker.stopping")[0]


@pytest.mark.parametrize("settings", [{}, AT_ONCE], ids=["one more", "three at once"])
def test_the_largest_goes_first_and_never_two_at_once(settings: dict[str, object]) -> None:
    """Whatever surge a SIGHUP may use."""
    world = settled(4, **settings)

    for pid, size in ((100, 1200), (101, 1500), (102, 1900), (103, 1100)):
        world.feed(events.TooLarge(pid, size, LIMIT))
    world.run(60)

    assert slots_begun(world) == [0, 2, 1, 3], "slot 0 was told of when it was the only one"
    begun, ended = world.times("recycle.started"), world.times("recycle.finished")
    assert len(begun) == len(ended) == 4
    assert all(start >= end for start, end in zip(begun[1:], ended, strict=False))
    assert {line["workers"] for line in world.lines("recycle.started")} == {1}


def test_old_workers_go_one_at_a_time_the_oldest_first() -> None:
    """All three grew old during a recycle that took its time; the surge is for three."""
    slow = Behaviour(ready_after=40.0)
    quick = [Behaviour()] * 3
    world = settled(
        3, None, in_turn(*quick, slow, then=Behaviour()),
        worker_max_age="40s", worker_timeout="60s", **AT_ONCE | {"recycle_max_unavailable": 0},
    )  # fmt: skip
    world.feed(events.TooLarge(100, 1500, LIMIT))
    world.run(90)

    lines = world.lines("recycle.started")
    assert [line["why"] for line in lines[1:]] == ["worker.max_age"] * (len(lines) - 1)
    assert {line["workers"] for line in lines} == {1}
    begun, ended = world.times("recycle.started"), world.times("recycle.finished")
    assert all(start >= end for start, end in zip(begun[1:], ended, strict=False))
    assert slots_begun(world)[:3] == [0, 1, 2]


def test_one_that_is_too_large_again_at_once_is_left_alone_for_five_minutes() -> None:
    """The program needs more than it may have: one clear line, and no recycling without end."""
    world = settled(1)
    world.feed(events.TooLarge(100, 1500, LIMIT))
    world.run(20)
    began = world.times("recycle.started")[0]

    while world.now < began + SIZE_PAUSE_S - 15:
        world.feed(events.TooLarge(101, 1400, LIMIT))
        world.run(15)
    assert len(world.lines("recycle.started")) == 1
    (_, line) = world.lines("worker.too_large")
    assert line["next"].startswith("the one before it was recycled for that too, so it stays for")

    world.run(15)
    world.feed(events.TooLarge(101, 1400, LIMIT))
    world.run(30)
    assert len(world.lines("recycle.started")) == 2
    assert generations(world) == [3]


def test_one_that_goes_already_or_is_new_is_not_recycled_for_its_size() -> None:
    world = settled(2, Behaviour(stops_after=5.0))
    world.signal("HUP")
    world.run(0.5)

    for pid in world.pids():
        world.feed(events.TooLarge(pid, 1500, LIMIT))
    world.feed(events.TooLarge(99, 1500, LIMIT))
    world.run(60)

    assert len(world.lines("recycle.started")) == 1
    assert world.lines("worker.too_large") == []


def test_where_new_workers_do_not_start_the_large_ones_stay() -> None:
    """One give-up, not one for each: they are told of again if they stay so."""
    broken = Behaviour(ready_after=None, ends_after=0.1, ends_with=1 << 8)
    world = settled(2, None, in_turn(Behaviour(), Behaviour(), then=broken), restart_delay="100ms")

    for pid in (100, 101):
        world.feed(events.TooLarge(pid, 1500, LIMIT))
    world.run(100)

    assert len(world.lines("recycle.failed")) == 1
    assert len(world.lines("recycle.started")) == 1
    assert generations(world) == [1, 1]


def test_one_that_is_too_large_in_a_shutdown_is_nobodys_concern() -> None:
    world = settled(2, Behaviour(stops_after=3.0))
    world.signal("TERM")

    world.feed(events.TooLarge(100, 1500, LIMIT))
    world.run(20)

    assert world.lines("worker.too_large") == []
    assert world.exit is not None


# --- a path that changed -------------------------------------------------------------------------


def test_a_path_that_changed_recycles_all_with_the_settings_read_again() -> None:
    world = settled(2)
    reads = []
    world.next_config = lambda: reads.append(1) or events.ConfigRead(world.pool.options, 3)

    world.feed(events.PathsChanged(["/etc/app"]))
    world.run(30)

    assert reads == [1]
    assert generations(world) == [2, 2, 2]
    assert world.lines("recycle.asked") == [{"paths": ["/etc/app"]}]
    assert [line["why"] for line in world.lines("recycle.started")] == ["recycle.watch"]


def test_paths_and_sighups_during_a_recycle_make_one_further_pass() -> None:
    """Said by its first reason."""
    world = settled(2, Behaviour(stops_after=5.0))
    world.signal("HUP")
    world.run(1)

    world.feed(events.PathsChanged(["/etc/app"]))
    world.signal("HUP")
    world.feed(events.PathsChanged(["/etc/app", "/etc/more"]))
    world.run(60)

    assert generations(world) == [3, 3]
    assert [line["why"] for line in world.lines("recycle.started")] == ["SIGHUP", "recycle.watch"]
    assert len(world.lines("recycle.queued")) == 1
    assert len(world.lines("recycle.asked")) == 2


def test_a_path_that_changes_in_a_shutdown_starts_nobody() -> None:
    world = settled(2, Behaviour(stops_after=3.0))
    world.signal("TERM")

    world.feed(events.PathsChanged(["/etc/app"]))
    world.run(20)

    assert len(world.lines("worker.started")) == 2
    assert world.exit is not None
