"""What signals to srvinit do: scaling, forwarding, and the terminal's own."""

from __future__ import annotations

import pytest
from pools import settled
from simulated import Behaviour, World, in_turn

from srvinit.lifecycle import actions, events
from srvinit.options import Options


def test_ttin_and_ttou_want_one_worker_more_and_one_fewer() -> None:
    world = settled(2)

    world.signal("TTIN")
    world.run(20)
    assert len(world.pids()) == 3
    world.signal("TTOU")
    world.signal("TTOU")
    world.run(20)

    assert len(world.pids()) == 1
    assert [(line["before"], line["after"]) for line in world.lines("count.changed")] == [
        (2, 3),
        (3, 2),
        (2, 1),
    ]


def test_the_floor_is_one_worker() -> None:
    world = settled(1)

    world.signal("TTOU")
    world.run(20)

    assert world.pids() == [100]
    assert world.lines("count.changed") == []


def test_a_count_set_by_ttin_survives_a_recycle() -> None:
    world = settled(1)
    world.signal("TTIN")

    world.signal("HUP")
    world.run(60)

    assert len(world.pids()) == 2


def test_until_the_files_own_value_changes() -> None:
    world = settled(1)
    world.signal("TTIN")
    world.next_config = lambda: events.ConfigRead(Options(), 5)

    world.signal("HUP")
    world.run(60)

    assert len(world.pids()) == 5


def test_a_surplus_worker_stays_while_another_is_missed() -> None:
    world = settled(3, restart_delay="5s")
    world.kill(100)
    world.run(1)

    world.signal("TTOU")
    world.run(1)

    assert world.pids() == [101, 102], "slot 2 is not wanted, but slot 0 is not there yet"
    world.run(30)
    assert world.pids() == [101, 103]


def test_a_surplus_worker_that_crashes_is_not_started_anew() -> None:
    world = settled(2, restart_delay="1s")
    world.kill(100)
    world.run(0.5)
    world.signal("TTOU")

    world.kill(101)
    world.run(60)

    exited = {line["slot"]: line["next"] for line in world.lines("worker.exited")}
    assert exited[1] == "no other is wanted in its place"
    assert len(world.pids()) == 1


def test_scaling_up_and_down_while_old_ones_linger_never_loses_a_slot() -> None:
    world = settled(2, Behaviour(stops_after=4.0))
    for name in ("TTOU", "TTIN", "TTOU", "TTIN", "TTIN"):
        world.signal(name)
        world.run(0.3)

    world.run(60)

    assert sorted(worker.slot for worker in world.pool.everyone()) == [0, 1, 2]


@pytest.mark.parametrize("name", ["USR1", "USR2", "QUIT", "ALRM", "RTMIN+9"])
def test_other_signals_are_forwarded_to_every_live_worker(name: str) -> None:
    world = settled(3)

    world.signal(name)

    assert all(process.signals == [name] for process in world.processes.values())
    assert world.lines("signal.forwarded") == [{"signal": name, "workers": 3}]


def test_a_forwarded_stop_signal_is_not_a_second_one() -> None:
    """C6: each stop signal is sent once to a worker, whoever asks for it."""
    slow = Behaviour(stops_after=5.0)
    world = settled(2, None, in_turn(slow), worker_stop_signal="QUIT")
    world.signal("HUP")
    world.run(2)
    assert world.process(100).signals == ["QUIT", "CONT"]

    world.signal("QUIT")

    assert world.process(100).signals == ["QUIT", "CONT"]
    assert world.process(101).signals == ["QUIT"]


def test_nobody_is_signalled_whose_group_got_sigkill() -> None:
    dying = Behaviour(ready_after=None, killed_after=5.0)
    world = settled(2)
    world.choose = in_turn(then=dying)
    world.signal("HUP")
    world.run(3)
    assert [worker.state for worker in world.pool.workers.values()].count("killing") == 1

    world.signal("USR1")

    assert world.process(102).signals == ["KILL"]


def test_a_signal_may_be_sent_on_as_another() -> None:
    world = settled(1, signal=["USR1=USR2"])

    world.signal("USR1")

    assert world.process(100).signals == ["USR2"]


def test_a_signal_may_mean_shutdown_or_nothing() -> None:
    """C9: STOPSIGNAL SIGQUIT."""
    world = settled(1, signal=["QUIT=shutdown", "USR1=ignore"])

    world.signal("USR1")
    assert world.process(100).signals == []
    world.signal("QUIT")
    world.run(20)

    assert world.exit == actions.Exit(0, "SIGQUIT")


def test_rtmin_3_is_a_shutdown() -> None:
    world = settled(1)

    world.signal("RTMIN+3")
    world.run(20)

    assert world.exit is not None


def test_hup_from_a_terminal_that_went_away_is_a_shutdown() -> None:
    world = settled(1)

    world.signal("HUP", hangup=True)
    world.run(20)

    assert world.exit == actions.Exit(0, "the terminal is gone")


def test_window_changes_reach_only_a_worker_that_has_the_terminal() -> None:
    """C13."""
    world = settled(2)

    world.signal("WINCH")
    assert all(process.signals == [] for process in world.processes.values())
    world.signal("WINCH", worker_has_terminal=True)

    assert world.process(100).signals == ["WINCH"]


def stops(world: World) -> int:
    return sum(isinstance(order, actions.StopSelf) for _, order in world.orders)


def test_job_control_is_for_the_terminal_and_does_not_scale() -> None:
    world = settled(1)

    for name in ("TSTP", "TTIN", "TTOU"):
        world.signal(name, worker_has_terminal=True)

    assert stops(world) == 3
    assert world.pool.count == 1


def test_signals_are_forwarded_during_a_shutdown_too() -> None:
    world = settled(1, shutdown_delay="9s")
    world.signal("TERM")

    world.signal("USR1")

    assert world.process(100).signals == ["USR1"]


def test_the_stop_signal_may_go_to_the_whole_group() -> None:
    """C5: an explicit setting."""
    world = settled(1, worker_signal_group=True)

    world.signal("USR1")
    world.signal("TERM")

    signals = [order for _, order in world.orders if isinstance(order, actions.Signal)]
    assert [(order.name, order.to_group) for order in signals] == [
        ("USR1", True),
        ("TERM", True),
        ("CONT", True),
    ]
