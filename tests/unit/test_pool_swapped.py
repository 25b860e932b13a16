"""One queue for all, swapped by a recycle: the new ones settle first, then the old ones quiesce.

The oracle watches each of these worlds too: who sits where, and when a seat joins the rotation.
"""

from __future__ import annotations

from typing import Any

import pytest
from pools import exit_status, generations, pool_of, settled
from simulated import Behaviour, World, in_turn

from srvinit.lifecycle import actions, events
from srvinit.options import Options

QUICK = Behaviour()
SLOW = Behaviour(ready_after=1.5)
LATE = Behaviour(ready_after=None, ends_after=1.9, ends_with=1 << 8)
BUSY = Behaviour(seat_empties_after=0.7)
UNREADY = Behaviour(ready_after=None)
FAILING = Behaviour(ready_after=None, ends_after=0.1, ends_with=1 << 8)
NO_EXEC = Behaviour(fails_to_spawn=True)
SWAPPED = {"is_steered": True, "bind": [":8099"], "bind_mode": "swapped"}


def seats_of(world: World) -> list[int]:
    """Tell the seats of the live workers, by slot."""
    workers = sorted(world.pool.everyone(), key=lambda worker: (worker.slot, worker.number))
    return [worker.seat for worker in workers]


def steered(world: World) -> list[tuple[float, set[int]]]:
    return [
        (round(at, 3), set(order.seats))
        for at, order in world.orders
        if isinstance(order, actions.Steer)
    ]


def closed(world: World) -> list[int]:
    return [order.seat for _, order in world.orders if isinstance(order, actions.CloseSeat)]


def spawned(world: World) -> list[int]:
    return [order.seat for _, order in world.orders if isinstance(order, actions.Spawn)]


# --- a recycle -----------------------------------------------------------------------------------


def test_all_share_a_seat_and_one_that_serves_is_enough() -> None:
    world = pool_of(3, None, in_turn(QUICK, SLOW, UNREADY), **SWAPPED).begin()

    world.run(1)

    assert seats_of(world) == [0, 0, 0]
    assert steered(world) == [(0.01, {0})]


def test_a_recycle_swaps_once_when_the_last_of_the_new_ones_has_settled() -> None:
    """However few recycle.max_surge allows: all new ones run beside all old ones."""
    choose = in_turn(QUICK, QUICK, QUICK, QUICK, SLOW)
    world = settled(3, None, choose, **SWAPPED, recycle_max_surge=1)

    world.signal("HUP")
    world.run(2.4)
    assert (seats_of(world), world.steered_to) == ([0, 1, 0, 1, 0, 1], {0})
    assert world.lines("worker.quiescing") == []
    world.run(60)

    assert steered(world)[1:] == [(22.5, {1})]
    assert world.times("worker.quiescing") == pytest.approx([22.5] * 3)
    assert world.times("worker.stopping") == pytest.approx([22.8] * 3)
    assert (seats_of(world), closed(world)) == ([1, 1, 1], [0])
    (finished,) = world.lines("recycle.finished")
    assert finished["replaced"] == 3


def test_the_old_seat_is_closed_when_the_last_of_the_old_ones_is_gone() -> None:
    lingering = Behaviour(stops_after=5.0)
    world = settled(3, None, in_turn(QUICK, lingering, QUICK), **SWAPPED)

    world.signal("HUP")
    world.run(60)

    (at,) = [at for at, order in world.orders if isinstance(order, actions.CloseSeat)]
    assert at == pytest.approx(21.01 + 0.3 + 5.0)


def test_recycles_follow_each_other() -> None:
    world = settled(2, **SWAPPED)

    for _ in range(3):
        world.signal("HUP")
    world.run(60)

    assert [seats for _, seats in steered(world)] == [{0}, {1}, {2}]
    assert (generations(world), closed(world)) == ([3, 3], [0, 1])


def test_where_the_kernel_cannot_steer_sockets_are_shared() -> None:
    world = settled(2, bind=[":8099"], bind_mode="swapped")

    world.signal("HUP")
    world.run(60)

    assert generations(world) == [2, 2]
    assert world.lines("worker.quiescing") == []


def test_max_unavailable_takes_nobody_from_the_group() -> None:
    """The others would go on getting all newcomers."""
    stubborn = Behaviour(stops_after=None)
    world = settled(2, None, in_turn(stubborn), **SWAPPED, recycle_max_unavailable=1)
    world.next_config = lambda: events.ConfigRead(
        Options(bind=[":8099"], bind_mode="swapped", recycle_max_unavailable=1), 1
    )

    world.signal("HUP")
    world.run(1)

    assert world.steered_to == {0}
    assert world.lines("worker.quiescing") == []


# --- new ones that fail --------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [FAILING, NO_EXEC])
def test_where_a_new_one_fails_the_old_group_serves_on(failing: Behaviour) -> None:
    """The other new ones go: newcomers never came to them."""
    choose = in_turn(QUICK, QUICK, QUICK, then=failing)
    world = settled(2, None, choose, **SWAPPED, recycle_retries=2, restart_delay="1s")

    world.signal("HUP")
    world.run(60)

    assert len(world.lines("recycle.failed")) == 1
    assert (seats_of(world), generations(world)) == ([0, 0], [1, 1])
    assert (steered(world), closed(world)) == ([(0.01, {0})], [1])


def test_after_a_recycle_that_was_given_up_the_next_one_succeeds() -> None:
    choose = in_turn(QUICK, QUICK, QUICK, FAILING, then=QUICK)
    world = settled(2, None, choose, **SWAPPED, recycle_retries=1)
    world.signal("HUP")
    world.run(30)

    world.signal("HUP")
    world.run(60)

    assert (seats_of(world), world.steered_to) == ([2, 2], {2})


def test_one_that_took_a_crashed_ones_slot_goes_too_when_the_recycle_is_given_up() -> None:
    """Two groups would each get half; another takes the slot, with the old ones."""
    choose = in_turn(QUICK, QUICK, QUICK, LATE)
    world = settled(2, None, choose, **SWAPPED, recycle_retries=1)
    world.signal("HUP")
    world.run(1.5)
    world.kill(100)
    world.run(0.1)
    assert (seats_of(world), world.pool.ready) == ([1, 0, 1], 2)

    world.run(60)

    assert (seats_of(world), world.steered_to, closed(world)) == ([0, 0], {0}, [1])
    assert world.pool.ready == 2


# --- crashes -------------------------------------------------------------------------------------


def test_a_crashed_ones_replacement_joins_the_others() -> None:
    """Who waits is served by them meanwhile."""
    world = settled(3, **SWAPPED, restart_delay="2s")

    world.kill(101)
    world.run(5)

    assert (seats_of(world), closed(world)) == ([0, 0, 0], [])
    assert steered(world) == [(0.01, {0})]


def test_where_all_crash_newcomers_wait_for_those_who_follow() -> None:
    world = settled(2, **SWAPPED, restart_delay="2s")
    for pid in (100, 101):
        world.kill(pid)

    world.run(1)
    assert (world.steered_to, world.pool.live) == ({0}, 0)
    world.run(5)

    assert (seats_of(world), closed(world)) == ([0, 0], [])


def test_where_all_old_ones_crash_the_new_ones_serve_as_soon_as_they_can() -> None:
    """Settled or not: nobody else is there. Who waited gets the next group."""
    choose = in_turn(QUICK, QUICK, QUICK, SLOW)
    world = settled(2, None, choose, **SWAPPED)
    world.waits_on = {0: 0.0}.get
    world.signal("HUP")
    world.run(0.5)

    for pid in (100, 101):
        world.kill(pid)
    world.run(0)
    assert steered(world)[1:] == [(20.5, {1})]
    world.run(60)

    assert [line["workers"] for line in world.lines("recycle.started")] == [2, 2]
    assert "connections wait" in world.lines("recycle.started")[1]["why"]
    assert (spawned(world), closed(world)) == ([0, 0, 1, 1, 0, 0], [0, 1])
    assert (seats_of(world), world.pool.seats.waited) == ([0, 0], [])


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_who_waited_for_old_ones_that_all_crashed_is_served_though_the_recycle_fails(
    is_asked_for: bool,  # noqa: FBT001
) -> None:
    """Found by chaos: they were reset, though workers started again; SIGHUP or not."""
    brief = Behaviour(ends_after=1.0, ends_with=1 << 8)
    choose = in_turn(QUICK, QUICK, brief, UNREADY, then=QUICK)
    world = settled(2, None, choose, **SWAPPED, recycle_retries=1, restart_delay="2s")
    world.waits_on = {0: 0.0}.get
    world.signal("HUP")
    world.run(0.5)
    for pid in (100, 101):
        world.kill(pid)
    world.run(1)
    assert len(world.lines("recycle.failed")) == 1

    if is_asked_for:
        world.signal("HUP")
    world.run(60)

    assert 0 in spawned(world)[4:]
    closings = [order for _, order in world.orders if isinstance(order, actions.CloseSeat)]
    assert all(order.by is None for order in closings if order.seat == 0)
    assert (world.pool.seats.waited, world.pool.seats.given_up) == ([], {})


# --- who grows old or large ----------------------------------------------------------------------


def test_one_that_is_too_large_has_the_whole_group_recycled_once() -> None:
    """And none for the next five minutes, in whatever slot it is."""
    world = settled(3, **SWAPPED, worker_max_memory="100MiB")

    world.feed(events.TooLarge(101, 200, 100))
    world.run(60)
    assert generations(world) == [2, 2, 2]
    world.feed(events.TooLarge(105, 200, 100))
    world.run(60)

    assert generations(world) == [2, 2, 2]
    assert world.steered_to == {1}


def test_one_that_is_too_old_has_the_whole_group_recycled() -> None:
    world = settled(3, **SWAPPED, worker_max_age="100s")

    world.run(85)

    assert [line["workers"] for line in world.lines("recycle.started")] == [3]
    assert generations(world) == [2, 2, 2]


# --- scaling -------------------------------------------------------------------------------------


def test_scaling_down_is_what_it_is_with_shared_sockets() -> None:
    """Newcomers come to the queue as before, so it would never be seen empty."""
    world = settled(3, BUSY, **SWAPPED)

    world.signal("TTOU")
    world.run(5)

    assert world.lines("worker.quiescing") == []
    assert (seats_of(world), world.steered_to) == ([0, 0], {0})


def test_the_last_one_that_newcomers_come_to_stays_though_another_is_ready() -> None:
    """Found by the simulator: that other one began late, at the seat that was swapped away."""
    late = Behaviour(ready_after=1.8)
    choose = in_turn(late, QUICK, UNREADY, QUICK, then=QUICK)
    world = pool_of(2, None, choose, **SWAPPED, recycle_settle="1s", worker_timeout="5s")
    world.begin().run(1.2)
    world.signal("HUP")
    world.run(0.2)
    world.kill(101)
    world.run(0.1)
    assert (world.steered_to, seats_of(world)) == ({1}, [0, 1, 1])

    world.signal("TTOU")
    world.run(60)

    stopped = [line["pid"] for line in world.lines("worker.stopping")]
    ready = {line["pid"]: line["slot"] for line in world.lines("worker.ready")}
    assert 103 in stopped
    assert max(ready) > 103
    assert seats_of(world) == [1]


def test_scaling_up_in_a_recycle_is_waited_for_too() -> None:
    choose = in_turn(QUICK, QUICK, QUICK, QUICK, SLOW)
    world = settled(2, None, choose, **SWAPPED)
    world.signal("HUP")
    world.run(0.5)

    world.signal("TTIN")
    world.run(60)

    assert steered(world)[1:] == [(23.0, {1})]
    assert seats_of(world) == [1, 1, 1]


# --- the end -------------------------------------------------------------------------------------


def test_a_shutdown_shuts_the_door_and_lets_all_empty_the_one_queue() -> None:
    world = settled(3, BUSY, **SWAPPED, worker_quiesce="300ms")
    world.queue_empty_after = 2.0

    world.signal("TERM")
    world.run(60)

    assert world.is_door_shut
    assert [at - 20 for at in world.times("worker.stopping")] == pytest.approx([1.0, 1.0, 3.0])
    assert exit_status(world) == 0


def test_term_before_the_swap_drains_with_the_old_ones() -> None:
    world = settled(2, None, in_turn(QUICK, QUICK, QUICK, UNREADY), **SWAPPED, shutdown_delay="5s")
    world.signal("HUP")
    world.run(0.5)

    world.signal("TERM")
    world.run(1)
    assert world.steered_to == {0}
    world.run(60)

    assert exit_status(world) == 0
    assert world.lines("worker.killed") == []


def test_in_a_drain_the_new_ones_serve_where_the_old_ones_crash() -> None:
    world = settled(2, **SWAPPED, shutdown_delay="5s")
    world.signal("HUP")
    world.run(0.5)
    world.signal("TERM")

    for pid in (100, 101):
        world.kill(pid)
    world.run(0)

    assert world.steered_to == {1}
    world.run(60)
    assert exit_status(world) == 0


@pytest.mark.parametrize("at", [0.0, 0.005, 0.1, 1.0, 1.2, 2.0, 2.5, 5.0, 30.0])
@pytest.mark.parametrize("empties_after", [0.0, 0.7, None])
def test_term_at_any_moment_is_over_by_its_deadline(at: float, empties_after: float | None) -> None:
    """However long the queues take; the oracle watches over the rest."""
    behaviour = Behaviour(stops_after=None, seat_empties_after=empties_after)
    settings: dict[str, Any] = {"shutdown_timeout": "4s", "shutdown_delay": "1s"}
    world = pool_of(3, behaviour, **SWAPPED, **settings)
    world.queue_empty_after = None
    world.begin().run(at)
    world.signal("HUP")
    world.run(at / 10)
    asked_at = world.now

    world.signal("TERM")
    world.run(60)

    assert world.exit is not None
    assert world.exited_at - asked_at <= 1 + 4 + 1 + 1e-6
