"""Restarting: what is a failure, what a row of them is, and who ends srvinit."""

from __future__ import annotations

import pytest
from pools import exit_status, pool_of, settled
from simulated import KILLED, Behaviour, in_turn

from srvinit.lifecycle import events

QUICK = Behaviour()
FALSE = Behaviour(ready_after=0.0, ends_after=0.005, ends_with=1 << 8)
TRUE = Behaviour(ready_after=0.0, ends_after=0.005)


def test_a_crash_is_made_good_after_restart_delay() -> None:
    world = settled(2, restart_delay="5s")
    crashed_at = world.now

    world.kill(101)
    world.run(60)

    assert world.times("worker.started")[2] == pytest.approx(crashed_at + 5)
    assert world.lines("worker.exited")[0]["next"] == "a new one starts in 5 s"
    assert world.lines("worker.exited")[0]["reason"] == "SIGKILL"


def test_what_is_left_of_its_group_is_killed_before_it_is_reaped() -> None:
    world = settled(1)

    world.kill(100)
    world.run(0)

    kinds = [type(order).__name__ for _, order in world.orders[-3:]]
    assert kinds == ["KillGroup", "Reap", "Log"]


def test_a_worker_that_was_ready_and_exits_0_is_replaced_at_once() -> None:
    """max-requests: it has not crashed."""
    world = settled(1, None, in_turn(Behaviour(ends_after=30)), restart_limit=1)

    world.run(60)

    assert world.times("worker.started") == [0.0, 30.0]
    assert world.lines("worker.started")[1]["why"] == "clean-exit"


def test_a_worker_that_exits_0_before_it_settled_has_failed() -> None:
    world = pool_of(1, Behaviour(ends_after=0.5), restart_limit=3, restart_delay="1s").begin()

    world.run(60)

    assert exit_status(world) == 1
    assert len(world.times("worker.started")) == 3


def test_a_command_that_ends_at_once_does_not_spin_even_without_settle_and_delay() -> None:
    world = pool_of(1, TRUE, restart_limit=10, restart_delay=0, recycle_settle=0).begin()

    world.run(60)

    assert len(world.times("worker.started")) == 10
    assert exit_status(world) == 1


def test_a_boot_loop_ends_with_the_status_of_the_command() -> None:
    """C11: exits 78 within 5 s; the log names the reason and 78."""
    configured = Behaviour(ends_after=0.01, ends_with=78 << 8)
    world = pool_of(2, configured, restart_delay="10ms", restart_limit=5).begin()

    world.run(5)

    assert exit_status(world) == 78
    assert world.lines("restart.gave_up") == [{"failures": 5, "reason": "exit 78", "status": 78}]


def test_exactly_restart_limit_workers_are_tried() -> None:
    """C31: exits 1 after 5 ms, without delay: 10 spawns, then exit."""
    world = pool_of(1, FALSE, restart_limit=10, restart_delay="0s").begin()

    world.run(60)

    assert len(world.times("worker.started")) == 10
    assert exit_status(world) == 1


def test_without_a_limit_a_boot_loop_is_slow_and_says_little() -> None:
    """C29: at most 60 spawns and 200 lines in 60 s."""
    world = pool_of(4, FALSE, restart_limit=0).begin()

    world.run(60)

    assert world.exit is None
    assert len(world.times("worker.started")) <= 60
    assert len(world.logs) <= 200


def test_with_the_default_limit_a_boot_loop_ends() -> None:
    """C29."""
    world = pool_of(4, FALSE).begin()

    world.run(60)

    assert exit_status(world) == 1


def test_all_workers_killed_again_and_again_come_back_each_time() -> None:
    """C30: each time 4 ready within 2 s, never 3 for good, never 5.

    Without a limit: by the default one, ten deaths of workers that are not proven end srvinit.
    """
    world = pool_of(4, restart_delay="200ms", restart_limit=0).begin()

    for _ in range(200):
        world.run(5)
        assert world.pool.live == 4
        for pid in world.pids():
            world.kill(pid)
        world.run(2)
        assert world.pool.serving == world.pool.live == 4


def test_a_proven_worker_sets_the_row_back() -> None:
    """restart.reset."""
    choose = in_turn(FALSE, FALSE, Behaviour(ends_after=13, ends_with=1 << 8), FALSE)
    world = pool_of(1, choose=choose, restart_limit=3, restart_delay="1s").begin()

    world.run(60)

    assert world.exit is None
    assert world.pool.proven == 1


def test_a_worker_that_settles_and_dies_before_it_is_proven_counts() -> None:
    """A database that is not there is noticed after seconds: that is a crash loop as well."""
    dies = Behaviour(ends_after=3, ends_with=1 << 8)
    world = pool_of(1, dies, restart_limit=4, restart_delay="1s").begin()

    world.run(60)

    assert exit_status(world) == 1
    assert len(world.lines("worker.started")) == 4


def test_what_fails_beside_a_proven_worker_does_not_end_srvinit() -> None:
    world = pool_of(2, choose=in_turn(QUICK, then=FALSE), restart_limit=3, restart_delay="9s")
    world.begin().run(600)

    assert world.exit is None
    assert world.pids() == [100]


def test_a_sighup_sets_the_row_back() -> None:
    world = pool_of(
        1, choose=in_turn(FALSE, FALSE, then=QUICK), restart_limit=3, restart_delay="5s"
    ).begin()
    world.run(6)
    assert world.pool.failures_in_row == 2

    world.signal("HUP")

    assert world.pool.failures_in_row == 0
    assert world.pool.live == 1, "a fresh start waits for no delay"


def test_giving_up_stops_the_workers_that_are_left() -> None:
    starts = Behaviour(ready_after=1.5, stops_after=0.3)
    world = pool_of(2, choose=in_turn(starts, then=FALSE), restart_limit=3, restart_delay="0s")
    world.begin().run(60)

    assert exit_status(world) == 1
    assert world.process(100).signals[0] == "TERM"


# --- restart.policy ------------------------------------------------------------------------------


@pytest.mark.parametrize(("raw", "status"), [(0, 0), (3 << 8, 3), (15, 143), (2, 130)])
def test_never_ends_with_the_commands_own_status(raw: int, status: int) -> None:
    """C10: plain init, as tini."""
    brief = Behaviour(ends_after=5, ends_with=raw)
    world = pool_of(1, brief, restart_policy="never").begin()

    world.run(60)

    assert exit_status(world) == status
    assert len(world.times("worker.started")) == 1


def test_never_with_several_ends_with_the_first_status_that_is_not_0() -> None:
    ends = [Behaviour(ends_after=after, ends_with=code << 8) for after, code in
            ((1, 0), (3, 4), (2, 0), (5, 7))]  # fmt: skip
    world = pool_of(4, choose=in_turn(*ends), restart_policy="never").begin()

    world.run(4.9)
    assert world.exit is None
    world.run(1)

    assert exit_status(world) == 4


@pytest.mark.parametrize(("raw", "status"), [(0, 0), (15, 143), (7 << 8, 7)])
def test_never_asked_to_stop_still_ends_with_the_commands_own_status(raw: int, status: int) -> None:
    world = settled(1, Behaviour(stops_with=raw), restart_policy="never")

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == status


def test_never_and_killed_ends_with_137() -> None:
    world = settled(1, Behaviour(stops_after=None), restart_policy="never")

    world.signal("TERM")
    world.run(60)

    assert exit_status(world) == 137


def test_never_counts_a_late_starter_as_its_end() -> None:
    world = pool_of(1, Behaviour(ready_after=None), restart_policy="never").begin()

    world.run(60)

    assert exit_status(world) == 137


def test_on_failure_restarts_failures_and_ends_when_all_have_ended() -> None:
    fails = Behaviour(ends_after=2, ends_with=1 << 8)
    choose = in_turn(Behaviour(ends_after=1), fails, Behaviour(ends_after=3))
    world = pool_of(2, choose=choose, restart_policy="on-failure", restart_delay="1s").begin()

    world.run(60)

    assert world.times("worker.started") == [0.0, 0.0, 3.0]
    assert exit_status(world) == 0
    assert world.exited_at == pytest.approx(6.0)


def test_on_failure_gives_up_too() -> None:
    world = pool_of(1, FALSE, restart_policy="on-failure", restart_limit=3).begin()

    world.run(60)

    assert exit_status(world) == 1


def test_a_lower_count_that_is_complete_already_ends_srvinit() -> None:
    """Else it would live on without workers."""
    world = pool_of(
        2, choose=in_turn(Behaviour(ends_after=1, ends_with=5 << 8)), restart_policy="never"
    ).begin()
    world.run(10)

    world.signal("TTOU")
    world.run(30)

    assert exit_status(world) == 5


def test_one_more_worker_is_started_though_the_first_is_complete() -> None:
    world = pool_of(2, choose=in_turn(Behaviour(ends_after=1)), restart_policy="never").begin()
    world.run(10)

    world.signal("TTIN")
    world.run(30)

    assert world.pids() == [101, 102]


# --- memory --------------------------------------------------------------------------------------


def test_timers_of_those_that_are_gone_do_not_pile_up() -> None:
    """worker.max_age of a month, and crashes all the time: each timer would stay for a month."""
    crashing = Behaviour(ends_after=0.4, ends_with=1 << 8)
    world = pool_of(
        4, crashing, worker_max_age="43200m", restart_limit=0, restart_delay=0, restart_reset=0,
        recycle_settle=0,
    ).begin()  # fmt: skip
    world.keeps_history = False

    world.run(60)

    assert world.spawned > 500
    assert len(world.pool._timers) < 200


def test_timers_set_again_for_the_same_instant_do_not_pile_up() -> None:
    """SIGHUP after SIGHUP while fork fails: each tries anew, and each sets the same retry."""
    world = pool_of(2, Behaviour(fails_to_spawn=True), recycle_retries=1).begin()

    for _ in range(300):
        world.signal("HUP")

    assert world.now == 0.0
    assert len(world.pool._timers) < 100


def test_a_flood_of_pings_leaves_nothing_behind() -> None:
    watchdog = {"worker_require": "notify", "worker_watchdog": "3s"}
    world = pool_of(1, Behaviour(pings_every=0.001), **watchdog).begin()
    world.keeps_history = False

    world.run(5)

    assert len(world.pool._timers) < 20


def test_a_worker_killed_for_lack_of_memory_is_named() -> None:
    """The kernel's own words are the reason; what follows is what follows any crash."""
    world = settled(2)
    pid = world.pids()[0]
    why = "killed by the kernel: out of memory (limit 512 MiB, /sys/fs/cgroup/memory.max)"
    world.processes[pid].ended = True
    world.feed(events.Exited(pid, KILLED, detail=why, is_oom=True))
    (line,) = world.lines("worker.exited")
    assert (line["reason"], line["oom"], line["status"]) == (why, True, -9)
    assert line["next"] == "a new one starts in 5 s"
