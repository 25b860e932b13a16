"""Ending: drain, stop, sweep, done, all within one budget; and what srvinit exits with."""

from __future__ import annotations

from typing import Any

import pytest
from pools import exit_status, pool_of, settled
from simulated import Behaviour, World, in_turn

from srvinit.lifecycle import actions, events

QUICK = Behaviour()
STUBBORN = Behaviour(stops_after=None)


def orders_of(world: World, kind: type[actions.Action]) -> list[tuple[float, Any]]:
    return [(at - 20, order) for at, order in world.orders if type(order) is kind]


def since_term(world: World, event: str) -> list[float]:
    return [at - 20 for at in world.times(event)]


def test_term_stops_everyone_and_exits_0() -> None:
    """C10."""
    world = settled(4)

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 0
    assert world.exited_at == pytest.approx(20.01)
    assert [line["reason"] for line in world.lines("worker.exited")] == ["exit 0"] * 4


def test_a_worker_that_dies_of_the_stop_signal_was_asked_to() -> None:
    """C10: a pool of `sleep 1000`."""
    world = settled(2, Behaviour(stops_with=15))

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 0
    assert all(line["asked"] for line in world.lines("worker.exited"))


def test_a_second_term_changes_nothing() -> None:
    """C6: one stop signal a worker; the budget is fixed by the first TERM."""
    world = settled(4, Behaviour(stops_after=2.0))

    world.signal("HUP")
    world.run(1.5)
    for _ in range(5):
        world.signal("TERM")
        world.run(0.1)
    world.run(60)

    everyone = [world.process(pid) for pid in range(100, 100 + world.spawned)]
    assert all(process.signals.count("TERM") == 1 for process in everyone)
    assert len(world.lines("shutdown.started")) == 1
    assert exit_status(world) == 0


def test_a_stubborn_worker_is_killed_when_shutdown_timeout_is_over() -> None:
    """C35: KILL after 2.0 to 2.5 s, all over within 3 s, exit 124, one line with pid and why."""
    world = settled(1, STUBBORN, shutdown_timeout="2s")

    world.signal("TERM")
    world.run(60)

    assert since_term(world, "worker.killed") == [2.0]
    assert world.lines("worker.killed")[0]["pid"] == 100
    assert world.lines("worker.killed")[0]["why"] == "it did not stop after SIGTERM"
    assert world.exited_at - 20 <= 3
    assert exit_status(world) == 124


@pytest.mark.parametrize("linger", [1.995, 1.999, 2.0, 2.001, 2.005])
@pytest.mark.parametrize("seen_after", [0.0, 0.002])
def test_a_worker_may_end_at_the_very_moment_of_its_kill_timer(
    linger: float, seen_after: float
) -> None:
    """C32: no fault, and the exit status says what the log says."""
    world = settled(1, Behaviour(stops_after=linger), shutdown_timeout="2s")
    world.exit_seen_after = seen_after

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == (124 if world.lines("worker.killed") else 0)
    assert len(world.lines("worker.exited")) == 1


def test_a_stopped_worker_is_continued_and_sees_its_stop_signal() -> None:
    """C34: over within 1 s, exit 0."""
    world = settled(2)
    world.stop(101)

    world.signal("TERM")
    world.run(60)

    assert world.process(101).signals[:2] == ["TERM", "CONT"]
    assert world.exited_at - 20 < 1
    assert exit_status(world) == 0


def test_everything_serves_during_shutdown_delay() -> None:
    """C15, C38: TERM drains first."""
    world = settled(2, shutdown_delay="10s")

    world.signal("TERM")

    assert world.told == ["READY=1", "STOPPING=1"]
    world.run(9.9)
    assert world.pids() == [100, 101]
    world.run(60)
    assert since_term(world, "worker.stopping")[0] == 10.0
    assert exit_status(world) == 0


def test_int_leaves_out_the_delay() -> None:
    """C15: a person is waiting."""
    world = settled(2, shutdown_delay="10s")

    world.signal("INT", by_terminal=True)
    world.run(60)

    assert world.exited_at - 20 < 1


def test_int_after_term_leaves_out_what_is_left_of_the_delay() -> None:
    world = settled(1, STUBBORN, shutdown_delay="10s", shutdown_timeout="3s")

    world.signal("TERM")
    world.run(4)
    world.signal("INT")
    world.run(60)

    assert since_term(world, "worker.stopping") == [4.0]
    assert since_term(world, "worker.killed") == [7.0]
    assert world.lines("shutdown.hurried") == [{"signal": "INT", "saved_s": 6.0}]


def test_an_int_whose_drain_is_over_already_does_not_lengthen_the_budget() -> None:
    world = settled(1, STUBBORN, shutdown_delay="1s", shutdown_timeout="3s")
    world.signal("TERM")

    world.suspend(2)
    world.signal("INT")
    world.run(60)

    assert since_term(world, "worker.killed") == [4.0]


def test_ctrl_c_again_a_second_later_kills_at_once() -> None:
    world = settled(2, STUBBORN)

    world.signal("INT", by_terminal=True)
    world.run(0.5)
    world.signal("INT", by_terminal=True)
    assert world.lines("worker.killed") == []
    world.run(0.6)
    world.signal("INT", by_terminal=True)
    world.run(60)

    assert since_term(world, "worker.killed") == pytest.approx([1.1, 1.1])
    assert world.lines("shutdown.impatient") == [{"workers": 2}]
    assert exit_status(world) == 124


def test_a_scripts_second_int_changes_nothing() -> None:
    world = settled(1, STUBBORN)

    for _ in range(3):
        world.signal("INT")
        world.run(2)

    assert world.lines("worker.killed") == []


@pytest.mark.parametrize("settle", ["0s", "3s", "1s"])
def test_ctrl_c_again_kills_the_last_one_too_that_still_serves_the_queue(settle: str) -> None:
    world = pool_of(2, STUBBORN, bind=[":8099"], recycle_settle=settle)
    world.queue_empty_after = None
    world.begin().run(0.5 if settle != "1s" else 2)

    world.signal("INT", by_terminal=True)
    world.run(1.2)
    assert [len(process.signals) for process in world.processes.values()] == [0, 2]
    world.signal("INT", by_terminal=True)
    world.run(60)

    assert "TERM" not in world.process(100).signals
    assert exit_status(world) == 124


# --- the queue -----------------------------------------------------------------------------------


def test_the_last_worker_serves_until_the_queue_is_empty() -> None:
    """Queued connections are served, not reset."""
    world = settled(3, bind=[":8099"])
    world.queue_empty_after = 3.0

    world.signal("TERM")
    world.run(60)

    assert since_term(world, "worker.stopping") == [0.0, 0.0, 3.0]
    closed = orders_of(world, actions.CloseSockets)
    assert closed[0][0] == 3.0, "srvinit's own copy goes before the last worker is asked"
    assert exit_status(world) == 0


def test_the_last_worker_is_asked_when_half_the_time_is_gone() -> None:
    world = settled(2, bind=[":8099"], shutdown_timeout="8s")
    world.queue_empty_after = None

    world.signal("TERM")
    world.run(60)

    assert since_term(world, "worker.stopping") == [0.0, 4.0]


def test_without_sockets_all_are_asked_at_once() -> None:
    world = settled(3)

    world.signal("TERM")

    assert since_term(world, "worker.stopping") == [0.0, 0.0, 0.0]
    assert orders_of(world, actions.WatchQueue) == []


def test_the_sockets_are_closed_when_the_last_worker_dies_before_the_queue_is_empty() -> None:
    """Nobody serves the queue any more: whoever waits is better refused."""
    world = settled(2, Behaviour(stops_after=6.0), bind=[":8099"], shutdown_timeout="8s")
    world.queue_empty_after = 1.0

    world.signal("TERM")
    world.kill(100)
    world.run(2)

    assert orders_of(world, actions.CloseSockets)[0][0] == 1.0


# --- the budget ----------------------------------------------------------------------------------


NASTY = {
    "quick": QUICK,
    "stubborn": STUBBORN,
    "never ready": Behaviour(ready_after=None, stops_after=None),
    "unkillable": Behaviour(stops_after=None, killed_after=None),
    "slow to die of KILL": Behaviour(stops_after=None, killed_after=0.9),
    "crashing": Behaviour(ends_after=0.2, ends_with=1 << 8),
    "leaving orphans": Behaviour(orphans=3),
}


@pytest.mark.parametrize("at", [0.0, 0.005, 0.1, 1.5, 2.0, 2.5, 5.0, 30.0])
@pytest.mark.parametrize("behaviour", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("orphans_end_after", [0.01, None])
def test_term_at_any_moment_is_over_by_its_deadline(
    behaviour: Behaviour, at: float, orphans_end_after: float | None
) -> None:
    """DONE by done_by, whatever the workers do; the oracle watches over the rest."""
    world = pool_of(
        3, behaviour, bind=[":8099"], restart_limit=0, shutdown_timeout="4s", shutdown_delay="1s"
    )
    world.queue_empty_after = None
    world.orphans_end_after = {"TERM": orphans_end_after, "KILL": orphans_end_after}
    world.begin().run(at)
    world.signal("HUP")
    world.run(at / 10)
    asked_at = world.now

    world.signal("TERM")
    world.run(60)

    assert world.exit is not None
    assert world.exited_at - asked_at <= 1 + 4 + 1 + 1e-6


@pytest.mark.parametrize("at", [0.0, 1.9, 2.0, 2.001, 9.0])
def test_term_while_a_worker_is_being_killed_for_being_late(at: float) -> None:
    """It serves nobody: killing it is no forced end."""
    world = pool_of(1, Behaviour(ready_after=None, killed_after=0.5, stops_after=None)).begin()
    world.run(at)

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 0


def test_a_worker_that_starts_has_shutdown_margin_alone() -> None:
    """It serves nobody yet, and killing it is no forced end."""
    boots = Behaviour(ready_after=None, stops_after=None)
    world = pool_of(1, boots, worker_timeout="60s", shutdown_margin="700ms").begin()
    world.run(20)

    world.signal("TERM")
    world.run(60)

    assert since_term(world, "worker.killed") == pytest.approx([0.7])
    assert exit_status(world) == 0


def test_a_retired_worker_has_less_time_when_a_shutdown_begins() -> None:
    world = settled(1, None, in_turn(STUBBORN), recycle_timeout="60s", shutdown_timeout="3s")
    world.signal("HUP")
    world.run(2)
    assert since_term(world, "worker.stopping") == pytest.approx([1.01])

    world.signal("TERM")
    world.run(60)

    assert since_term(world, "worker.killed") == pytest.approx([5.0])
    assert world.process(100).signals.count("TERM") == 1


def test_a_retired_worker_has_never_more_time_because_of_a_shutdown() -> None:
    world = settled(1, None, in_turn(STUBBORN), recycle_timeout="2s", shutdown_timeout="30s")
    world.signal("HUP")
    world.run(2)

    world.signal("TERM")
    world.run(60)

    assert since_term(world, "worker.killed") == pytest.approx([3.01])


def test_what_recycle_timeout_killed_before_is_no_forced_end() -> None:
    dying = Behaviour(stops_after=None, killed_after=0.8)
    world = settled(1, None, in_turn(dying), recycle_timeout="1s")
    world.signal("HUP")
    world.run(2.3)
    assert world.lines("worker.killed")

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 0


def test_a_worker_that_cannot_be_killed_is_named_and_left() -> None:
    world = settled(2, None, in_turn(Behaviour(stops_after=None, killed_after=None)))

    world.signal("TERM")
    world.run(60)

    assert world.lines("shutdown.stuck") == [{"pids": [100]}]
    assert exit_status(world) == 124
    assert world.exited_at - 20 <= 16


def test_never_with_a_worker_that_cannot_be_killed_is_no_success() -> None:
    stuck = Behaviour(stops_after=None, killed_after=None)
    world = settled(1, stuck, restart_policy="never")

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 124


def test_no_worker_is_started_once_it_shuts_down() -> None:
    world = settled(2, shutdown_delay="20s", restart_delay="1s")
    world.kill(100)
    world.run(0.5)

    world.signal("TERM")
    world.kill(101)
    for name in ("HUP", "TTIN", "TTOU"):
        world.signal(name)
    world.run(60)

    assert world.spawned == 2
    assert exit_status(world) == 0


def test_term_that_comes_before_the_answer_to_a_spawn_stops_that_worker_too() -> None:
    world = pool_of(1)
    pool = world.pool
    pool.handle(events.Begin(), 0.0)
    pool.handle(events.SignalArrived("TERM"), 0.0)

    orders = pool.handle(events.Spawned(0, 4711), 0.1)

    assert [order for order in orders if isinstance(order, actions.Signal)] == [
        actions.Signal(4711, "TERM"),
        actions.Signal(4711, "CONT"),
    ]


def test_term_before_begin_starts_nothing() -> None:
    world = pool_of(2)

    world.signal("TERM")
    world.begin()

    assert world.spawned == 0
    assert exit_status(world) == 0


def test_suspended_through_a_whole_shutdown_it_still_ends() -> None:
    world = settled(2, STUBBORN, bind=[":8099"])
    world.queue_empty_after = None
    world.signal("TERM")

    world.suspend(3600)
    world.run(5)

    assert exit_status(world) == 124


# --- the sweep -----------------------------------------------------------------------------------


def test_orphans_are_asked_and_then_killed() -> None:
    world = settled(1, Behaviour(orphans=2), shutdown_margin="1s")
    world.orphans_end_after = {"TERM": None, "KILL": 0.0}

    world.signal("TERM")
    world.run(60)

    swept = [(round(at, 3), order.name) for at, order in orders_of(world, actions.Sweep)]
    assert swept == [(0.01, "TERM"), (0.76, "KILL")]
    assert exit_status(world) == 124


def test_orphans_that_end_of_term_are_no_forced_end() -> None:
    world = settled(1, Behaviour(orphans=2))
    world.orphans_end_after = {"TERM": 0.3, "KILL": 0.0}

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 0
    assert world.exited_at - 20 == pytest.approx(0.31)


def test_ctrl_c_in_the_sweep_kills_the_orphans() -> None:
    world = settled(1, Behaviour(orphans=1), shutdown_margin="8s")
    world.orphans_end_after = {"TERM": None, "KILL": 0.0}

    world.signal("INT", by_terminal=True)
    world.run(1.5)
    world.signal("INT", by_terminal=True)
    world.run(60)

    assert world.exited_at - 20 == pytest.approx(1.5)
    assert len(orders_of(world, actions.Sweep)) == 2
    assert exit_status(world) == 124


def test_what_happens_after_the_end_is_nobodys_business() -> None:
    world = settled(1)
    world.signal("TERM")
    world.run(60)

    assert world.pool.handle(events.Exited(100, 0), 99.0) == []
    assert world.pool.handle(events.SignalArrived("HUP"), 99.0) == []
    assert world.pool.next_deadline() is None


def test_every_worker_is_logged_once_as_started_and_once_as_exited() -> None:
    """With slot, generation, pid, status and reason."""
    choose = in_turn(QUICK, STUBBORN, Behaviour(ends_after=3, ends_with=11))
    world = pool_of(3, choose=choose, restart_delay="1s").begin()
    world.run(20)
    world.signal("HUP")
    world.run(30)
    world.signal("TERM")
    world.run(60)

    started = [line["pid"] for line in world.lines("worker.started")]
    exited = [line["pid"] for line in world.lines("worker.exited")]
    assert sorted(started) == sorted(exited) == list(range(100, 100 + world.spawned))
    named = {"slot", "generation", "pid", "status", "reason"}
    assert all(named <= line.keys() for line in world.lines("worker.exited"))
