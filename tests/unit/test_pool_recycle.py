"""Recycling: new beside old, settled before the old one goes, within surge and unavailable."""

from __future__ import annotations

from typing import Any

import pytest
from pools import generations, pool_of, settled
from simulated import Behaviour, World, in_turn

from srvinit.lifecycle import actions, events
from srvinit.options import Options

QUICK = Behaviour()
BROKEN = Behaviour(ready_after=0.0, ends_after=0.01, ends_with=1 << 8)


def spread(world: World, seconds: float) -> tuple[int, int]:
    """Run on, and return the fewest ready and the most live workers on the way."""
    fewest = most = world.pool.live
    until = world.now + seconds
    while world.step(until):
        fewest = min(fewest, world.pool.ready)
        most = max(most, len(world.pids()))
    return fewest, most


def new_config(world: World, count: int, **settings: Any) -> None:
    world.next_config = lambda: events.ConfigRead(Options(**settings), count)


def test_a_recycle_replaces_every_worker_by_one_of_the_next_generation() -> None:
    world = settled(4)

    world.signal("HUP")
    world.run(60)

    assert generations(world) == [2, 2, 2, 2]
    assert world.lines("recycle.started") == [{"generation": 2, "workers": 4, "why": "SIGHUP"}]
    assert [line["replaced"] for line in world.lines("recycle.finished")] == [4]


def test_a_recycle_of_eight_has_nine_workers_at_most_and_eight_ready_at_any_moment() -> None:
    """C26."""
    world = settled(8)

    world.signal("HUP")

    assert spread(world, 60) == (8, 9)
    assert generations(world) == [2] * 8


def test_the_old_worker_serves_until_the_slow_new_one_is_ready() -> None:
    """C21: boot of 5 s, readiness and not an interval."""
    world = settled(1, None, in_turn(QUICK, Behaviour(ready_after=5.0)), worker_timeout="15s")
    begun = world.now

    world.signal("HUP")
    world.run(60)

    (asked_at,) = world.times("worker.stopping")
    assert asked_at == pytest.approx(begun + 5.0 + 1.0)
    assert world.lines("worker.stopping")[0]["why"] == "pid 101 of generation 2 took its place"


def test_a_new_worker_that_dies_before_it_settled_never_replaces_a_good_one() -> None:
    """recycle.settle."""
    brief = Behaviour(ends_after=0.9, ends_with=1 << 8)
    world = settled(1, None, in_turn(QUICK, brief, brief), recycle_settle="1s")

    world.signal("HUP")
    world.run(6.5)
    assert world.pids() == [100, 102]
    world.run(60)

    assert generations(world) == [2]
    assert world.process(100).signals == ["TERM", "CONT", "KILL"]


def test_a_recycle_whose_new_workers_fail_is_given_up_and_the_old_ones_stay() -> None:
    """C24: recycle.retries failures; one recycle.failed with the last failure."""
    world = settled(2, None, in_turn(QUICK, QUICK, then=BROKEN))

    world.signal("HUP")
    world.run(300)

    assert world.pids() == [100, 101]
    (failed,) = world.lines("recycle.failed")
    assert failed["failures"] == 3
    assert failed["kept"] == 2
    assert failed["last"] == "worker 0 (pid 104): exit 1"
    assert world.lines("worker.stopping") == []
    assert world.pool.next_deadline() is None


def test_the_next_sighup_after_a_failed_recycle_starts_afresh() -> None:
    world = settled(2, None, in_turn(QUICK, QUICK, BROKEN, BROKEN, BROKEN))
    world.signal("HUP")
    world.run(60)
    assert generations(world) == [1, 1]

    world.signal("HUP")
    world.run(60)

    assert generations(world) == [3, 3]


def test_a_replacement_that_cannot_be_executed_is_a_failed_new_worker() -> None:
    world = settled(1, None, in_turn(QUICK, then=Behaviour(exec_status=127)))

    world.signal("HUP")
    world.run(60)

    assert world.exit is None
    assert world.pids() == [100]
    assert "no such file" in world.lines("recycle.failed")[0]["last"]


def test_fork_failures_give_a_recycle_up_too() -> None:
    world = settled(1, None, in_turn(QUICK, then=Behaviour(fails_to_spawn=True)))

    world.signal("HUP")
    world.run(60)

    assert world.pids() == [100]
    assert world.lines("recycle.failed")[0]["last"] == "fork: EAGAIN"


@pytest.mark.parametrize(
    "replacement",
    [
        Behaviour(ready_after=None),
        Behaviour(ready_after=None, stops_after=None),
        Behaviour(ready_after=0.0),
        Behaviour(ready_after=0.0, stops_after=None),
    ],
    ids=["starting", "starting and stubborn", "ready", "ready and stubborn"],
)
def test_giving_up_retires_the_replacement_whatever_its_state(replacement: Behaviour) -> None:
    """Two slots are replaced at once; the one fails, the other is in the middle of something."""
    choose = in_turn(QUICK, QUICK, replacement, BROKEN)
    world = settled(2, None, choose, recycle_max_surge=2, recycle_retries=1, worker_timeout="30s")

    world.signal("HUP")
    world.run(120)

    assert world.pids() == [100, 101]
    assert generations(world) == [1, 1]
    assert len(world.lines("recycle.failed")) == 1


def test_a_settled_replacement_of_a_given_up_recycle_stays_while_it_is_missed() -> None:
    """Ready workers never fall below count - max_unavailable, when it is given up either."""
    choose = in_turn(QUICK, QUICK, QUICK, BROKEN)
    world = settled(2, None, choose, recycle_settle="1s", recycle_retries=1, restart_delay="3s")
    world.signal("HUP")
    world.run(0.5)
    world.kill(101)
    world.run(2)
    assert world.pids() == [100, 102]

    world.run(60)

    assert len(world.lines("recycle.failed")) == 1
    assert world.pool.proven == 2
    assert world.pool.live == 2
    assert 100 in world.pids()


def test_a_sighup_finds_a_slot_with_two_workers_and_leaves_it_with_one() -> None:
    """The replacement of a recycle that was given up is stale itself in the next."""
    choose = in_turn(QUICK, QUICK, QUICK, BROKEN)
    world = settled(2, None, choose, recycle_max_surge=2, recycle_retries=1, restart_delay="3s")
    world.signal("HUP")
    world.kill(101)
    world.run(2)
    assert world.lines("recycle.failed")
    assert world.pids() == [100, 102]

    world.signal("HUP")
    world.run(60)

    assert world.pool.recycle is None
    assert generations(world) == [3, 3]


@pytest.mark.parametrize("times", [1, 2, 50])
def test_any_number_of_sighups_during_a_recycle_causes_one_further_pass(times: int) -> None:
    world = settled(2)
    world.signal("HUP")
    world.run(1)

    for _ in range(times):
        world.signal("HUP")
    world.run(120)

    assert generations(world) == [3, 3]
    begun = world.times("recycle.started")
    assert len(begun) == 2
    assert begun[1] == world.times("recycle.finished")[0]


def test_the_queued_pass_follows_a_recycle_that_was_given_up() -> None:
    world = settled(1, None, in_turn(QUICK, BROKEN, BROKEN, BROKEN))
    world.signal("HUP")
    world.run(1)
    world.signal("HUP")

    world.run(120)

    assert world.times("recycle.started")[1] == world.times("recycle.failed")[0]
    assert generations(world) == [3]


def test_a_queued_sighup_and_an_old_worker_make_two_passes_one_after_the_other() -> None:
    """Both waited for the end of a recycle; they began on top of each other."""
    world = settled(2, worker_max_age="30s", recycle_settle="4s")
    world.signal("HUP")
    world.run(1)
    world.signal("HUP")

    world.run(60)

    begun, finished = world.times("recycle.started"), world.times("recycle.finished")
    assert all(start >= end for start, end in zip(begun[1:], finished, strict=False))


def test_held_workers_do_not_pile_up() -> None:
    """C25: five HUPs, one second apart; never more than 3 live, killed 2 s after their stop."""
    world = settled(2, Behaviour(stops_after=None), recycle_timeout="2s")

    for _ in range(5):
        world.signal("HUP")
        _, most = spread(world, 1)
        assert most <= 3
    _, most = spread(world, 60)

    assert most <= 3
    asked = {line["pid"]: at for at, line in logged(world, "worker.stopping")}
    killed = {line["pid"]: at for at, line in logged(world, "worker.killed")}
    assert asked.keys() == killed.keys()
    assert all(killed[pid] - asked[pid] == pytest.approx(2) for pid in asked)


def logged(world: World, event: str) -> list[tuple[float, dict[str, Any]]]:
    return [(at, fields) for at, name, fields in world.logs if name == event]


def test_without_surge_a_worker_is_retired_first() -> None:
    """`max_surge=0, max_unavailable=1` recycles where memory has no room for one more."""
    world = settled(3, recycle_max_surge=0, recycle_max_unavailable=1)

    world.signal("HUP")

    assert spread(world, 60) == (2, 3)
    assert generations(world) == [2, 2, 2]


@pytest.mark.parametrize(
    ("surge", "unavailable", "spread_of"),
    [("25%", "0%", (8, 10)), ("0%", "25%", (6, 8)), ("100%", 0, (8, 16)), (1, "30%", (6, 9))],
)
def test_surge_and_unavailable_may_be_percentages(
    surge: str, unavailable: str, spread_of: tuple[int, int]
) -> None:
    world = settled(8, recycle_max_surge=surge, recycle_max_unavailable=unavailable)

    world.signal("HUP")
    fewest, most = spread(world, 120)

    assert fewest >= spread_of[0]
    assert most <= spread_of[1]
    assert generations(world) == [2] * 8


def test_a_crash_in_a_recycle_is_made_good_before_the_recycle_goes_on() -> None:
    choose = in_turn(*[QUICK] * 4)
    world = settled(4, None, choose, restart_delay="2s")
    world.signal("HUP")
    world.run(1.5)
    stopped_before = len(world.times("worker.stopping"))
    world.kill(103)

    world.run(1.9)
    assert len(world.times("worker.stopping")) == stopped_before
    world.run(60)

    assert generations(world) == [2] * 4


def test_a_stale_worker_that_crashes_is_not_retired_twice() -> None:
    world = settled(1, None, in_turn(QUICK, Behaviour(ready_after=1.5)))
    world.signal("HUP")
    world.run(1)

    world.kill(100)
    world.run(60)

    assert generations(world) == [2]
    assert world.lines("worker.exited")[0]["next"] == "its replacement is there already"
    assert world.lines("recycle.finished")


def test_sighup_while_the_workers_start_does_not_stop_them_all_at_once() -> None:
    """Those that serve and have not settled are missed too, even if they count for nothing yet."""
    world = pool_of(4, recycle_max_surge=0, recycle_max_unavailable=1).begin()
    world.run(0.5)
    assert world.pool.serving == 4

    world.signal("HUP")
    assert world.pool.serving == 4
    world.run(60)

    assert generations(world) == [2] * 4


def test_the_count_of_the_file_is_taken_up_at_a_sighup() -> None:
    """C27: 2, 4, then 1 worker."""
    world = settled(2)
    for count in (4, 1):
        new_config(world, count)
        world.signal("HUP")
        world.run(60)
        assert len(world.pids()) == count

    assert [line["after"] for line in world.lines("count.changed")] == [4, 1]


def test_a_faulty_file_keeps_the_settings_and_the_recycle_goes_on() -> None:
    """C27."""
    world = settled(2)
    world.next_config = lambda: events.ConfigRejected(["/etc/s.toml:3: recycle.tiemout: unknown"])

    world.signal("HUP")
    world.run(60)

    assert world.lines("config.rejected") == [
        {"faults": ["/etc/s.toml:3: recycle.tiemout: unknown"]}
    ]
    assert generations(world) == [2, 2]


def test_a_new_stop_signal_is_for_workers_that_were_started_with_it() -> None:
    world = settled(1)
    new_config(world, 1, worker_stop_signal="QUIT")

    world.signal("HUP")
    world.run(60)

    assert world.process(100).signals[:2] == ["TERM", "CONT"]
    assert world.lines("worker.stopping")[0]["signal"] == "TERM"


def test_a_count_changed_in_the_middle_of_a_recycle_ends_in_one_generation() -> None:
    for signals in (["TTIN"], ["TTOU"], ["TTIN", "TTIN", "TTOU"], ["TTOU", "TTOU", "TTIN"]):
        world = settled(3, recycle_max_surge="50%")
        world.signal("HUP")
        for name in signals:
            world.run(0.7)
            world.signal(name)
        world.run(120)

        wanted = 3 + signals.count("TTIN") - signals.count("TTOU")
        assert generations(world) == [2] * wanted


def test_a_slot_that_was_unwanted_for_a_moment_is_recycled_all_the_same() -> None:
    """It was passed over while it was beyond count; the recycle then never ended."""
    crash = Behaviour(ends_after=25.0, ends_with=1 << 8)
    world = settled(3, None, in_turn(crash), recycle_max_surge=3)
    world.run(6)
    world.signal("TTOU")
    world.signal("HUP")
    world.run(0.5)
    world.signal("TTIN")

    world.run(120)

    assert world.pool.recycle is None
    assert generations(world) == [2, 2, 2]


def test_a_recycle_waits_for_those_beyond_count_before_it_adds_a_worker() -> None:
    """Live workers above count: surplus ones take the same memory."""
    world = settled(4, Behaviour(stops_after=None), recycle_timeout="5s")
    new_config(world, 1, recycle_timeout="5s")
    world.signal("HUP")

    _, most = spread(world, 4.9)

    assert most == 4
    world.run(60)
    assert generations(world) == [2]


def test_recycle_timeout_zero_kills_at_once() -> None:
    world = settled(1, Behaviour(stops_after=None), recycle_timeout=0)

    world.signal("HUP")
    world.run(60)

    assert world.times("worker.killed") == world.times("worker.stopping")


def test_term_in_a_recycle_retires_the_unready_replacement_and_all_the_others_at_once() -> None:
    world = settled(2, None, in_turn(QUICK, QUICK, Behaviour(ready_after=None)))
    world.signal("HUP")
    world.run(1)
    now = world.now

    world.signal("TERM")

    assert world.times("worker.stopping") == [now, now, now]
    assert world.lines("recycle.abandoned") == [{"generation": 2}]


@pytest.mark.parametrize("policy", ["never", "on-failure"])
def test_a_replacement_that_ends_by_itself_fails_whatever_the_policy(policy: str) -> None:
    brief = Behaviour(ends_after=0.3)
    world = settled(1, None, in_turn(QUICK, then=brief), restart_policy=policy)

    world.signal("HUP")
    world.run(120)

    assert world.pids() == [100]
    assert len(world.lines("recycle.failed")) == 1


def test_the_sockets_that_nobody_names_any_more_are_released_at_the_end() -> None:
    world = settled(1)

    world.signal("HUP")
    world.run(60)

    released = [at for at, order in world.orders if isinstance(order, actions.ReleaseSockets)]
    assert released == world.times("recycle.finished")


def test_a_thousand_sighups_leave_nothing_behind() -> None:
    world = settled(2)

    for _ in range(1000):
        world.signal("HUP")
        world.run(0.01)
    world.run(120)

    pool = world.pool
    assert max(len(pool._timers), len(pool.stale), len(pool.vacant)) < 100
