"""Starting: N slots, each filled; what ready means; READY=1 once."""

from __future__ import annotations

import pytest
from pools import exit_status, pool_of, settled
from simulated import Behaviour, in_turn

from srvinit.lifecycle import actions, events
from srvinit.starting import first_orders


def test_begin_spawns_one_worker_a_slot() -> None:
    world = pool_of(4).begin()

    spawned = [order for _, order in world.orders if isinstance(order, actions.Spawn)]
    assert [(order.slot, order.generation) for order in spawned] == [(n, 1) for n in range(4)]


def test_a_worker_is_logged_as_started_ready_and_settled() -> None:
    world = pool_of(1, Behaviour(ready_after=0.5), recycle_settle="1s").begin()

    world.run(5)

    assert world.times("worker.started") == [0.0]
    assert world.times("worker.ready") == [0.5]
    assert world.times("worker.settled") == [1.5]
    assert world.lines("worker.ready")[0]["after_s"] == 0.5


def test_deadlines_that_fall_on_one_instant_are_all_kept() -> None:
    """Ready, settled and proven at once; the second timer was lost when it equalled the first."""
    world = pool_of(2, recycle_settle=0, restart_reset=0).begin()

    world.run(1)

    assert world.pool.proven == 2


@pytest.mark.parametrize("mode", ["shared", "steered", "swapped"])
@pytest.mark.parametrize("count", [1, 4])
def test_the_first_orders_are_those_that_were_carried_out_ahead(count: int, mode: str) -> None:
    """srvinit/starting.py starts the first workers before it has imported the core."""
    is_steered, is_swapped = mode != "shared", mode == "swapped"
    settings = {"recycle_max_surge": int(is_swapped), "recycle_max_unavailable": 1}
    pool = pool_of(count, is_steered=is_steered, bind_mode=mode, **settings).pool

    orders = pool.handle(events.Begin(is_steered=is_steered), 0.0)

    spawns = [order for order in orders if isinstance(order, actions.Spawn)]
    ordered = [(order.slot, order.generation, order.seat) for order in spawns]
    assert ordered == first_orders(count, is_swapped=is_swapped)


def test_a_worker_that_is_not_ready_in_time_is_killed_and_started_anew() -> None:
    """worker.timeout: time to become ready before it is killed and started anew."""
    never = Behaviour(ready_after=None)
    world = pool_of(1, choose=in_turn(never), worker_timeout="2s", restart_delay="5s").begin()

    world.run(20)

    assert world.times("worker.killed") == [2.0]
    assert world.process(100).signals == ["KILL", "KILL"]  # and what is left of its group
    assert world.times("worker.started") == [0.0, 7.0]
    assert world.pool.proven == 1


def test_a_late_starter_counts_as_a_failure() -> None:
    never = Behaviour(ready_after=None)
    world = pool_of(1, never, restart_delay="0s", restart_limit=3).begin()

    world.run(60)

    assert world.lines("restart.gave_up")[0]["failures"] == 3
    assert exit_status(world) == 137


def test_ready_is_told_once_when_all_workers_are_ready() -> None:
    """C23: one READY=1, not before the last is ready; STOPPING=1 at TERM."""
    slow = Behaviour(ready_after=2.0)
    world = pool_of(3, choose=in_turn(Behaviour(), slow), worker_timeout="9s").begin()

    world.run(1.9)
    assert world.told == []
    world.run(0.2)
    assert world.told == ["READY=1"]
    world.kill(100)
    world.run(60)
    world.signal("HUP")
    world.run(60)
    world.signal("TERM")
    world.run(60)

    assert world.told == ["READY=1", "STOPPING=1"]


def test_ready_is_not_told_while_a_slot_has_never_served() -> None:
    """A replacement beside its old worker does not stand in for the slot that is not ready."""
    stuck = Behaviour(ready_after=None)
    world = pool_of(
        2, choose=in_turn(Behaviour(), stuck), worker_timeout="60s", recycle_settle="1s"
    ).begin()
    world.run(10)
    world.signal("HUP")

    world.run(5)

    assert world.pool.serving == 2
    assert world.told == []


def test_ready_is_told_when_fewer_workers_are_wanted_and_those_are_ready() -> None:
    stuck = Behaviour(ready_after=None)
    world = pool_of(2, choose=in_turn(Behaviour(), stuck), worker_timeout="60s").begin()
    world.run(10)
    assert world.told == []

    world.signal("TTOU")

    assert world.told == ["READY=1"]


@pytest.mark.parametrize("status", [126, 127])
def test_a_command_that_cannot_be_executed_ends_srvinit_with_its_status(status: int) -> None:
    """C12: one attempt, no restart loop."""
    world = pool_of(1, Behaviour(exec_status=status)).begin()

    world.run(1)

    assert exit_status(world) == status
    assert len(world.times("worker.started")) == 1
    assert world.exit is not None
    assert "no such file" in world.exit.reason


def test_a_command_that_can_no_longer_be_executed_is_a_crash() -> None:
    gone = Behaviour(exec_status=127)
    world = pool_of(2, choose=in_turn(Behaviour(), Behaviour(), gone)).begin()
    world.run(30)
    world.kill(101)

    world.run(30)

    assert world.exit is None
    assert world.pool.proven == 2


def test_fork_that_fails_is_tried_again_and_counts_as_no_failure() -> None:
    """C54: one error a retry, the worker is back by the next retry."""
    full = Behaviour(fails_to_spawn=True)
    world = pool_of(1, choose=in_turn(*[full] * 12), restart_delay="0s", restart_limit=3).begin()

    world.run(11.5)
    assert world.times("worker.spawn_failed") == [float(second) for second in range(12)]
    assert world.pool.live == 0
    world.run(20)

    assert world.pool.proven == 1


def test_spawn_failures_come_back_slot_by_slot() -> None:
    full = Behaviour(fails_to_spawn=True)
    world = pool_of(4, choose=in_turn(full, full, full), restart_delay="1s").begin()

    world.run(30)

    assert world.pool.proven == 4
    assert len(world.lines("worker.spawn_failed")) == 3


def test_the_backlog_is_set_again_after_a_worker_is_ready() -> None:
    world = pool_of(2, bind=[":8099"]).begin()

    world.run(1)

    assert sum(isinstance(order, actions.RestoreBacklog) for _, order in world.orders) == 2


def test_sockets_that_no_setting_names_are_served_to_the_end_as_well() -> None:
    """Handed over by srvinit's own parent: the last worker stays until the queue is empty."""
    world = pool_of(2).begin(inherits_sockets=True)
    world.run(5)

    world.signal("TERM")
    world.run(1)

    orders = [order for _, order in world.orders]
    stops = [index for index, order in enumerate(orders) if order == actions.Signal(100, "TERM")]
    stops += [index for index, order in enumerate(orders) if order == actions.Signal(101, "TERM")]
    first, last = sorted(stops)
    assert first < orders.index(actions.WatchQueue()) < last


def test_the_watchdog_replaces_what_hangs() -> None:
    """C22: SIGABRT for its stack dump; CONT lets a stopped process see it."""
    hangs = Behaviour(pings_every=1.0, hangs_after=10.5)
    watchdog = {"worker_require": "notify", "worker_watchdog": "3s", "restart_delay": "1s"}
    world = pool_of(1, choose=in_turn(hangs, then=Behaviour(pings_every=1.0)), **watchdog).begin()

    world.run(60)

    (hung_at,) = world.times("worker.hung")
    assert 3 <= hung_at - 10 <= 3.1
    assert world.process(100).signals[:2] == ["ABRT", "CONT"]
    assert world.times("worker.started")[1] == pytest.approx(hung_at + 1.0)
    assert world.lines("worker.killed") == []


def test_what_hangs_on_sigabrt_is_killed_after_the_margin() -> None:
    hangs = Behaviour(pings_every=1.0, hangs_after=5.0, aborts=False)
    watchdog = {"worker_require": "notify", "worker_watchdog": "3s", "shutdown_margin": "500ms"}
    world = pool_of(1, choose=in_turn(hangs, then=Behaviour(pings_every=1.0)), **watchdog).begin()

    world.run(30)

    assert world.times("worker.killed")[0] - world.times("worker.hung")[0] == pytest.approx(0.5)


def test_without_a_watchdog_a_hung_worker_is_left_alone() -> None:
    world = pool_of(1, Behaviour(pings_every=1.0, hangs_after=5.0)).begin()

    world.run(600)

    assert world.lines("worker.hung") == []


def test_a_worker_is_not_hung_because_srvinit_was_suspended() -> None:
    watchdog = {"worker_require": "notify", "worker_watchdog": "3s"}
    world = pool_of(2, Behaviour(pings_every=1.0), **watchdog).begin()
    world.run(5)

    world.suspend(60)
    world.run(60)

    assert world.lines("worker.hung") == []
    assert len(world.lines("srvinit.suspended")) == 1
    assert world.pool.proven == 2


def test_a_worker_that_repeats_ready_settles_as_if_it_had_not() -> None:
    world = pool_of(1, Behaviour(repeats_ready=True), recycle_settle="5s").begin()

    world.run(20)

    assert world.times("worker.settled") == [5.01]
    assert len(world.times("worker.ready")) == 1


def test_a_worker_that_grew_old_is_recycled_and_the_jitter_keeps_them_apart() -> None:
    world = pool_of(3, worker_max_age="100s", recycle_settle="1s").begin()

    world.run(99)
    world.run(20)

    begun = world.times("recycle.started")
    assert {line["why"] for line in world.lines("recycle.started")} == {"worker.max_age"}
    assert len(begun) == len(set(begun)) == 3
    assert all(90 <= at <= 101 for at in begun)
    assert all(line["workers"] == 1 for line in world.lines("recycle.started"))


def test_max_age_off_recycles_nobody() -> None:
    """C50: 0 is off, jitter or not."""
    world = settled(2, worker_max_age=0)

    world.run(10_000_000)

    assert world.lines("recycle.started") == []
    assert world.pool.next_deadline() is None


def test_an_idle_pool_has_no_deadline() -> None:
    """Idle at default settings means no wake-ups."""
    world = settled(4)

    assert world.pool.next_deadline() is None


def test_ages_do_not_pile_up_during_a_recycle() -> None:
    """Found by seed 82: one that grew old twice in a recycle was counted twice in the next."""
    slow = Behaviour(ready_after=50.0)
    first = [Behaviour()] * 2
    world = pool_of(
        2, choose=in_turn(*first, slow, slow), worker_max_age="12s", worker_timeout="60s"
    ).begin()

    world.run(400)

    assert world.lines("recycle.finished")
    assert world.pool.live <= 3


def test_nothing_is_read_of_a_worker_that_speaks_before_it_is_ready() -> None:
    world = pool_of(1, Behaviour(ready_after=1.0)).begin()

    world.feed(events.Pinged(100))
    world.feed(events.Announced(100, "loading"))

    assert world.lines("worker.status") == [
        {"slot": 0, "generation": 1, "pid": 100, "text": "loading"}
    ]
