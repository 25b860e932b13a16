"""Steered sockets: out of the rotation, the queue seen empty, worker.quiesce; then the signal.

The oracle watches each of these worlds too: who is in the rotation, who has which seat.
"""

from __future__ import annotations

from typing import Any

import pytest
from pools import exit_status, generations, pool_of, settled
from simulated import Behaviour, World, in_turn

from srvinit.lifecycle import actions, events
from srvinit.lifecycle.worker import QUIESCING
from srvinit.options import Options

QUICK = Behaviour()
STUBBORN = Behaviour(stops_after=None)
BUSY = Behaviour(seat_empties_after=0.7)
STUCK = Behaviour(seat_empties_after=None)  # it takes nobody any more
UNREADY = Behaviour(ready_after=None)
STEERED = {"is_steered": True, "bind": [":8099"]}
NO_SURGE = {"recycle_max_surge": 0, "recycle_max_unavailable": 1}


def orders_of(world: World, kind: type[actions.Action]) -> list[tuple[float, Any]]:
    return [(round(at, 3), order) for at, order in world.orders if type(order) is kind]


def seats_of(world: World) -> dict[int, int]:
    """Tell the seat of each live worker, by slot."""
    return {worker.slot: worker.seat for worker in world.pool.everyone()}


def waits(world: World) -> list[float]:
    """Tell how long each worker was quiescing before its stop signal."""
    began = {fields["pid"]: at for at, name, fields in world.logs if name == "worker.quiescing"}
    asked = {fields["pid"]: at for at, name, fields in world.logs if name == "worker.stopping"}
    return [pytest.approx(asked[pid] - began[pid]) for pid in began]


def said(world: World) -> list[str]:
    """List events and orders in the order they came, leaving out what does not matter here."""
    shown = (actions.Steer, actions.WatchSeat, actions.ShutDoor, actions.CloseSockets)
    names = [
        order.event if isinstance(order, actions.Log) else type(order).__name__
        for _, order in world.orders
        if isinstance(order, (actions.Log, actions.Signal, *shown))
    ]
    return [name for name in names if name not in {"worker.settled", "signal.received"}]


# --- the rotation --------------------------------------------------------------------------------


def test_a_worker_is_in_the_rotation_from_ready_on() -> None:
    world = pool_of(2, None, in_turn(Behaviour(ready_after=1.0), QUICK), **STEERED).begin()

    world.run(2)

    steered = [(at, set(order.seats)) for at, order in orders_of(world, actions.Steer)]
    assert steered == [(0.01, {1}), (1.0, {0, 1})]


def test_shared_sockets_know_no_seats() -> None:
    world = settled(3, bind=[":8099"], restart_delay=0)
    for pid in (100, 101, 102):
        world.kill(pid)
    world.signal("HUP")
    world.run(60)
    world.signal("TERM")
    world.run(60)

    kinds = (actions.Steer, actions.WatchSeat, actions.CloseSeat, actions.ShutDoor)
    assert not [order for _, order in world.orders if isinstance(order, kinds)]
    assert world.lines("worker.quiescing") == []
    assert world.pool.seats.left == []


# --- quiescing -----------------------------------------------------------------------------------


def test_a_recycle_steers_away_looks_waits_and_only_then_asks() -> None:
    world = settled(1, **STEERED, worker_quiesce="300ms")
    world.orders.clear()

    world.signal("HUP")
    world.run(60)

    assert said(world) == [
        "config.read", "recycle.started",
        "worker.started", "worker.ready", "Steer",
        "worker.quiescing", "Steer", "WatchSeat",
        "worker.stopping", "Signal", "Signal",
        "worker.exited", "recycle.finished",
    ]  # fmt: skip
    assert waits(world) == [0.3]
    assert [set(order.seats) for _, order in orders_of(world, actions.Steer)] == [{0, 1}, {1}]
    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [0]


@pytest.mark.parametrize(
    ("behaviour", "settings", "waited"),
    [
        (QUICK, {"worker_quiesce": 0}, 0.0),
        (BUSY, {"worker_quiesce": "300ms"}, 1.0),
        (BUSY, {"worker_quiesce": "5s"}, 5.7),
        (BUSY, {"worker_quiesce": "300ms", "recycle_timeout": "1s"}, 0.5),
        (BUSY, {"worker_quiesce": "300ms", "recycle_timeout": "1600ms"}, 0.8),
        (BUSY, {"worker_quiesce": "30s", "recycle_timeout": "20s"}, 10.0),
        (Behaviour(seat_empties_after=5.0), {"worker_quiesce": "300ms"}, 5.3),
        (STUCK, {}, 7.5),
        (STUCK, {"recycle_timeout": "4s"}, 2.0),
        (STUCK, {"recycle_timeout": 0}, 0.0),
    ],
)
def test_it_is_asked_once_its_queue_was_seen_empty_and_worker_quiesce_has_passed(
    behaviour: Behaviour, settings: dict[str, Any], waited: float
) -> None:
    """Or half of its time has."""
    world = settled(1, None, in_turn(behaviour), **STEERED, **settings)

    world.signal("HUP")
    world.run(60)

    assert waits(world) == [waited]
    assert world.lines("worker.quiescing")[0]["quiesce_s"] == world.pool.options.worker_quiesce


def test_one_that_serves_and_has_not_settled_is_quiesced_too() -> None:
    """It counts for nothing yet, but clients are there."""
    world = settled(2, BUSY, **STEERED)
    world.signal("TTIN")
    world.run(0.5)

    world.signal("TTOU")
    world.run(60)

    assert waits(world) == [1.0]


def test_quiescing_and_stopping_share_recycle_timeout() -> None:
    stubborn = Behaviour(stops_after=None, seat_empties_after=0.7)
    world = settled(1, None, in_turn(stubborn), **STEERED, recycle_timeout="8s")

    world.signal("HUP")
    world.run(60)

    assert world.times("worker.killed") == pytest.approx([world.times("worker.quiescing")[0] + 8])
    assert world.lines("worker.stopping")[0]["timeout_s"] == 7.0


def test_a_worker_that_is_quiescing_is_no_longer_counted_as_ready() -> None:
    """It gets nobody new: `max_unavailable` is about those who do."""
    world = settled(3, BUSY, **STEERED, **NO_SURGE)
    fewest = 3

    world.signal("HUP")
    until = world.now + 60
    while world.step(until):
        fewest = min(fewest, world.pool.ready)
        assert world.pool.quiescing <= 1

    assert fewest == 2
    assert generations(world) == [2, 2, 2]


def test_a_quiescing_worker_may_ping_and_say_ready_as_it_likes() -> None:
    watchdog = {"worker_require": "notify", "worker_watchdog": "1s"}
    chatty = Behaviour(pings_every=0.1, hangs_after=21.5, seat_empties_after=None)
    world = settled(
        1, None, in_turn(chatty, then=Behaviour(pings_every=0.5)), **STEERED, **watchdog
    )

    world.signal("HUP")
    world.run(1.1)
    world.feed(events.BecameReady(100))
    world.run(60)

    assert world.process(100).signals[:2] == ["TERM", "CONT"]
    assert world.lines("worker.hung") == []


def test_a_hung_worker_is_out_of_the_rotation_at_once() -> None:
    watchdog = {"worker_require": "notify", "worker_watchdog": "1s"}
    hung = Behaviour(pings_every=0.1, hangs_after=25.0, aborts=False)
    world = settled(2, None, in_turn(hung, then=Behaviour(pings_every=0.5)), **STEERED, **watchdog)

    world.run(6.5)

    assert world.lines("worker.hung")
    assert world.steered_to == {1}


# --- crashes -------------------------------------------------------------------------------------


def test_a_crashed_workers_seat_goes_to_its_slots_next_worker() -> None:
    """With who waits there; nobody new is sent there before that one is ready."""
    choose = in_turn(QUICK, QUICK, Behaviour(ready_after=1.0))
    world = settled(2, None, choose, **STEERED, restart_delay="2s")

    world.kill(101)
    world.run(2.9)
    assert (seats_of(world), set(world.steered_to)) == ({0: 0, 1: 1}, {0})
    world.run(0.2)

    assert set(world.steered_to) == {0, 1}
    assert orders_of(world, actions.CloseSeat) == []


def test_a_failed_spawn_keeps_the_crashed_seat() -> None:
    choose = in_turn(QUICK, Behaviour(fails_to_spawn=True), Behaviour(fails_to_spawn=True))
    world = settled(1, None, choose, **STEERED, restart_delay="1s")

    world.kill(100)
    world.run(5)

    assert [order.seat for _, order in orders_of(world, actions.Spawn)] == [0, 0, 0, 0]
    assert orders_of(world, actions.CloseSeat) == []


def test_a_worker_that_never_was_ready_hands_its_seat_on_too() -> None:
    """Where nobody serves, the kernel sends newcomers to whoever is to come."""
    world = pool_of(1, UNREADY, **STEERED, worker_timeout="1s", restart_delay="1s").begin()

    world.run(7)

    assert {order.seat for _, order in orders_of(world, actions.Spawn)} == {0}


@pytest.mark.parametrize("status", [0, 1 << 8])
def test_the_seat_of_a_complete_slot_is_closed(status: int) -> None:
    """restart.policy wants no other worker there: who waits had better be told."""
    brief = Behaviour(ends_after=25.0, ends_with=status)
    world = settled(2, None, in_turn(QUICK, brief), **STEERED, restart_policy="never")

    world.run(10)

    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [1]


def test_a_crash_while_quiescing_leaves_no_seat_to_a_slot_that_is_complete() -> None:
    """Its successor had ended well before it; there is no slot that needs the seat."""
    choose = in_turn(STUCK, QUICK, Behaviour(ends_after=2.0))
    world = settled(2, None, choose, **STEERED, restart_policy="on-failure")
    world.signal("HUP")
    world.run(2.5)
    assert (world.pool.quiescing, world.pool.complete) == (1, 1)

    world.kill(100)
    world.run(0)

    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [2, 0]
    assert world.pool.seats.kept == []


def test_where_the_replacement_is_there_already_the_crashed_seat_is_closed() -> None:
    world = settled(1, None, in_turn(QUICK, Behaviour(ready_after=1.5)), **STEERED)
    world.signal("HUP")
    world.run(1)

    world.kill(100)
    world.run(60)

    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [0]
    assert seats_of(world) == {0: 1}


def test_a_crash_while_quiescing_is_no_failure() -> None:
    """It was asked to go, and its replacement serves."""
    world = settled(1, None, in_turn(STUCK), **STEERED)
    world.signal("HUP")
    world.run(1.5)
    assert world.pool.quiescing == 1

    world.kill(100)
    world.run(60)

    (exited,) = world.lines("worker.exited")
    assert (exited["was"], exited["asked"], exited["next"]) == (QUIESCING, True, "")
    assert world.process(100).signals == ["KILL"]
    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [0]
    assert seats_of(world) == {0: 1}


def test_a_crash_while_quiescing_leaves_who_waits_to_the_slots_next_worker() -> None:
    """Without surge nobody sits in the slot yet, and the next one comes."""
    world = settled(2, None, in_turn(STUCK), **STEERED, **NO_SURGE)
    world.signal("HUP")
    world.run(0.5)
    assert world.pool.quiescing == 1

    world.kill(100)
    world.run(0.1)

    assert seats_of(world) == {0: 0, 1: 1}
    assert orders_of(world, actions.CloseSeat) == []


def test_two_crashes_in_one_slot_leave_one_seat_to_the_next() -> None:
    """Scaled down and up: the old one quiesces while its successor serves, and both crash."""
    world = settled(2, None, in_turn(QUICK, STUCK), **STEERED)
    world.signal("TTOU")
    world.signal("TTIN")
    world.run(0.5)
    assert seats_of(world) == {0: 0, 1: 2}
    world.kill(102)
    world.run(0)

    world.kill(101)
    world.run(20)

    assert seats_of(world) == {0: 0, 1: 2}
    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [1]


# --- who waits where no worker is ----------------------------------------------------------------


def replacing(world: World) -> World:
    """Begin a recycle, let a holder crash beside its successor, and somebody wait on its seat."""
    world.waits_on = {0: 0.0}.get
    world.signal("HUP")
    world.run(0.5)
    world.kill(100)
    return world


@pytest.mark.parametrize("ready_after", [0.01, 1.5])
def test_who_waits_on_a_crashed_workers_seat_gets_a_worker_though_its_slot_has_one(
    ready_after: float,
) -> None:
    """The successor cannot take the seat, whether it serves already or not: one more does."""
    world = settled(1, None, in_turn(QUICK, then=Behaviour(ready_after=ready_after)), **STEERED)

    replacing(world).run(60)

    spawned = [(round(at, 2), order.seat) for at, order in orders_of(world, actions.Spawn)]
    assert spawned == [(0.0, 0), (20.0, 1), (25.5, 0)]  # restart.delay after the crash
    assert orders_of(world, actions.CloseSeat)[0][1] == actions.CloseSeat(0, None)
    assert (seats_of(world), world.pool.recycle) == ({0: 0}, None)
    assert [line["workers"] for line in world.lines("recycle.started")] == [1, 1]


def test_who_waits_after_the_recycle_gets_a_worker_too() -> None:
    """The last of them crashes while it is quiescing: one worker is replaced, once more."""
    world = settled(1, None, in_turn(STUCK), **STEERED)
    world.waits_on = {0: 5.0}.get
    world.signal("HUP")
    world.run(1.5)
    assert world.pool.quiescing == 1

    world.kill(100)
    world.run(60)

    assert [order.seat for _, order in orders_of(world, actions.Spawn)] == [0, 1, 0]
    assert [line["workers"] for line in world.lines("recycle.started")] == [1, 1]
    assert "connections wait" in world.lines("recycle.started")[1]["why"]
    assert generations(world) == [3]


def test_who_waits_gets_whoever_is_started_next_in_any_slot() -> None:
    world = settled(3, **STEERED)

    replacing(world).run(60)

    seats = [order.seat for _, order in orders_of(world, actions.Spawn)]
    assert seats == [0, 1, 2, 3, 4, 0]  # 4 came in the moment of the crash
    assert len(world.lines("recycle.started")) == 1


def test_a_successor_that_crashes_hands_on_who_waits_for_it() -> None:
    crashing = Behaviour(ready_after=0.01, ends_after=0.5, ends_with=1 << 8)
    world = settled(2, None, in_turn(QUICK, QUICK, crashing), **STEERED, restart_delay="1s")
    world.waits_on = {2: 0.0}.get

    world.signal("HUP")
    world.run(60)

    assert [order.seat for _, order in orders_of(world, actions.Spawn)] == [0, 1, 2, 3, 2]
    assert generations(world) == [2, 2]


def test_who_waits_is_told_when_no_worker_starts_any_more() -> None:
    """A recycle that is given up is not begun again for their sake."""
    failing = Behaviour(ready_after=None, ends_after=0.1, ends_with=1 << 8)
    world = settled(2, None, in_turn(QUICK, QUICK, then=failing), **STEERED, recycle_retries=2)
    world.waits_on = lambda _seat: 0.0

    world.signal("HUP")
    world.run(60)

    closed = orders_of(world, actions.CloseSeat)
    by = pytest.approx(world.times("recycle.failed")[0] + 15)
    assert [order.by for _, order in closed] == [None, None, by, by]
    assert len(world.lines("recycle.failed")) == 1
    assert seats_of(world) == {0: 0, 1: 1}


@pytest.mark.parametrize("cause", ["a crash", "SIGHUP"])
def test_who_waits_after_a_recycle_that_was_given_up_gets_whoever_starts_in_time(
    cause: str,
) -> None:
    """Found by chaos: workers started again, and a moment later who waited was reset."""
    failing = Behaviour(ready_after=None, ends_after=0.1, ends_with=1 << 8)
    choose = in_turn(QUICK, QUICK, failing, failing, then=QUICK)
    world = settled(2, None, choose, **STEERED, recycle_retries=2, restart_delay="1s")
    world.waits_on = {2: 0.0, 3: 0.0}.get
    world.signal("HUP")
    world.run(5)
    assert len(world.lines("recycle.failed")) == 1

    if cause == "a crash":
        world.kill(100)
    else:
        world.signal("HUP")
    world.run(60)

    seats = [order.seat for _, order in orders_of(world, actions.Spawn)]
    assert set(seats[4:]) >= {2, 3}
    closed = [order for _, order in orders_of(world, actions.CloseSeat) if order.seat in {2, 3}]
    assert [order.by for order in closed] == [None, None], "somebody waits there"
    assert (world.pool.seats.waited, world.pool.seats.given_up) == ([], {})


def test_plain_init_starts_nobody_for_who_waits() -> None:
    brief = Behaviour(ends_after=25.0)
    world = settled(2, None, in_turn(QUICK, brief), **STEERED, restart_policy="never")
    world.waits_on = {1: 0.0}.get

    world.run(30)

    assert [order.by for _, order in orders_of(world, actions.CloseSeat)] == [None, 40.0]
    assert world.spawned == 2


def test_one_that_is_asked_to_stop_while_it_starts_hands_on_who_came_to_it() -> None:
    """At the start newcomers wait for all who are to come."""
    world = pool_of(2, None, in_turn(Behaviour(ready_after=1.0), UNREADY), **STEERED).begin()
    world.waits_on = {1: 0.0}.get

    world.signal("TTOU")
    world.run(10)

    assert [order.seat for _, order in orders_of(world, actions.Spawn)] == [0, 1, 1]
    assert seats_of(world) == {0: 1}


def test_those_that_start_do_not_change_places_for_who_waits_without_end() -> None:
    """Found by hypothesis: somebody waited for each, and each was stopped for the other's sake."""
    slow = {"worker_timeout": "30s", "recycle_settle": 0}
    world = pool_of(2, Behaviour(ready_after=5.0), **STEERED, **NO_SURGE, **slow).begin()
    world.waits_on = lambda _seat: 0.0

    world.signal("TTOU")
    world.run(4)
    assert world.spawned == 2
    world.run(30)

    assert [order.seat for _, order in orders_of(world, actions.Spawn)] == [0, 1, 1]
    assert world.pool.seats.waited == []


# --- newcomers while nobody serves ---------------------------------------------------------------


def test_without_surge_newcomers_wait_for_the_next_worker_not_on_the_old_one() -> None:
    """They would keep its queue from emptying, and go with it."""
    world = settled(1, BUSY, **STEERED, **NO_SURGE)
    world.orders.clear()

    world.signal("HUP")
    world.run(60)

    kinds = (actions.OpenSeat, actions.Steer, actions.WatchSeat, actions.Spawn, actions.CloseSeat)
    orders = [order for _, order in world.orders if isinstance(order, kinds)]
    assert orders[:3] == [
        actions.OpenSeat(1),
        actions.Steer(frozenset({1})),
        actions.WatchSeat(100, 0),
    ]
    assert [type(order) for order in orders[3:]] == [actions.CloseSeat, actions.Spawn]
    assert seats_of(world) == {0: 1}


def test_newcomers_wait_for_the_successor_where_the_only_worker_crashes() -> None:
    world = settled(1, None, in_turn(QUICK, then=Behaviour(ready_after=1.5)), **STEERED)
    world.signal("HUP")
    world.run(1.0)

    world.kill(100)
    world.run(0)

    assert (world.steered_to, world.pool.ready) == ({1}, 0)
    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [0]


def test_newcomers_wait_on_the_crashed_seat_where_nobody_else_is() -> None:
    world = settled(1, **STEERED, restart_delay="5s")
    world.orders.clear()

    world.kill(100)
    world.run(20)

    kinds = (actions.OpenSeat, actions.Steer, actions.CloseSeat)
    assert [order for _, order in world.orders if isinstance(order, kinds)] == []
    assert (seats_of(world), world.steered_to) == ({0: 0}, {0})


def test_newcomers_wait_on_a_hung_workers_seat_where_nobody_else_is() -> None:
    """It goes to the next worker as soon as that one is gone."""
    watchdog = {"worker_require": "notify", "worker_watchdog": "1s", "restart_delay": "1s"}
    hung = Behaviour(pings_every=0.1, hangs_after=25.0, aborts=False)
    world = settled(1, None, in_turn(hung, then=Behaviour(pings_every=0.5)), **STEERED, **watchdog)

    world.run(20)

    assert world.lines("worker.hung")
    assert [order.seat for _, order in orders_of(world, actions.Spawn)] == [0, 0]
    assert orders_of(world, actions.Steer) == [(0.01, actions.Steer(frozenset({0})))]


# --- workers that take nobody --------------------------------------------------------------------

LOOKING = {**STEERED, "worker_max_queue": 10}


def test_one_that_takes_nobody_is_left_out_until_its_queue_is_empty() -> None:
    """Told again and again, it is logged once."""
    world = settled(3, **LOOKING)

    for waiting in (10, 12, 15):
        world.feed(events.QueueStuck(1, waiting))
    assert world.steered_to == {0, 2}
    world.feed(events.QueueDrained(1))

    assert world.steered_to == {0, 1, 2}
    (line,) = world.lines("worker.queue_stuck")
    assert (line["pid"], line["waiting"]) == (101, 10)
    assert "others" in line["next"]
    assert [line["pid"] for line in world.lines("worker.queue_drained")] == [101]


def test_where_nobody_takes_anybody_all_are_in_the_rotation() -> None:
    world = settled(2, **LOOKING)

    world.feed(events.QueueStuck(0, 10))
    world.feed(events.QueueStuck(1, 10))

    assert world.steered_to == {0, 1}
    assert "nobody else" in world.lines("worker.queue_stuck")[1]["next"]
    world.feed(events.QueueDrained(1))
    assert world.steered_to == {1}


def test_one_that_takes_nobody_is_back_where_the_others_crash() -> None:
    world = settled(2, **LOOKING)
    world.feed(events.QueueStuck(0, 10))

    world.kill(101)
    world.run(0)

    assert world.steered_to == {0}


def test_who_waits_for_one_that_took_nobody_gets_a_worker_when_it_is_replaced() -> None:
    """SIGHUP is what people do about it: nobody in its queue may be lost by that."""
    stubborn = Behaviour(stops_after=None, seat_empties_after=None)
    world = settled(2, None, in_turn(stubborn), **LOOKING, recycle_timeout="4s")
    world.waits_on = {0: 0.0}.get
    world.feed(events.QueueStuck(0, 10))

    world.signal("HUP")
    world.run(60)

    assert orders_of(world, actions.CloseSeat)[-1][1].seat != 0
    assert [order.seat for _, order in orders_of(world, actions.Spawn)].count(0) == 2
    assert generations(world) == [2, 2]


def test_without_the_setting_nobody_is_left_out_any_more() -> None:
    world = settled(2, **LOOKING)
    world.feed(events.QueueStuck(0, 10))
    world.next_config = lambda: events.ConfigRead(Options(bind=[":8099"]), 2)

    world.signal("HUP")

    assert world.steered_to == {0, 1}


def test_a_queue_of_nobodys_is_nobodys_fault() -> None:
    """The worker is gone, or does not serve yet."""
    world = settled(2, **LOOKING)

    for seat in (7, -1):
        world.feed(events.QueueStuck(seat, 10))
        world.feed(events.QueueDrained(seat))

    assert world.lines("worker.queue_stuck") == []
    assert world.steered_to == {0, 1}


# --- scaling -------------------------------------------------------------------------------------


def test_scaling_down_quiesces_first() -> None:
    world = settled(3, BUSY, **STEERED, worker_quiesce="300ms")

    world.signal("TTOU")
    world.run(60)

    assert waits(world) == [1.0]
    assert world.pids() == [100, 101]
    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [2]


def test_resizing_drops_a_seat_that_was_kept() -> None:
    world = settled(3, **STEERED, restart_delay="30s")
    world.kill(102)
    world.run(1)

    world.signal("TTOU")

    assert orders_of(world, actions.CloseSeat) == [(21.0, actions.CloseSeat(2, None))]
    world.signal("TTIN")
    world.run(60)
    assert seats_of(world) == {0: 0, 1: 1, 2: 3}


def test_several_are_steered_away_from_at_once() -> None:
    world = settled(4, **STEERED)
    world.next_config = lambda: events.ConfigRead(Options(bind=[":8099"]), 1)
    world.orders.clear()

    world.signal("HUP")

    assert [set(order.seats) for _, order in orders_of(world, actions.Steer)] == [{0}]
    assert [order.seat for _, order in orders_of(world, actions.WatchSeat)] == [1, 2, 3]


# --- the end -------------------------------------------------------------------------------------


def test_a_shutdown_shuts_the_door_first_and_closes_the_sockets_after_the_last_look() -> None:
    world = settled(3, BUSY, **STEERED, worker_quiesce="300ms")
    world.queue_empty_after = 2.0
    world.orders.clear()

    world.signal("TERM")
    world.run(60)

    assert said(world)[:3] == ["shutdown.started", "ShutDoor", "worker.quiescing"]
    assert waits(world) == [1.0, 1.0, 1.0]
    assert [at - 20 for at in world.times("worker.stopping")] == pytest.approx([1.0, 1.0, 3.0])
    assert [at - 20 for at, _ in orders_of(world, actions.CloseSockets)] == [3.0]
    assert exit_status(world) == 0


def test_term_while_all_are_quiescing_asks_each_once_and_closes_the_sockets_then() -> None:
    """Half of what is left is what they have; nobody is the last one here."""
    two_at_once = {"recycle_max_surge": 0, "recycle_max_unavailable": 2}
    world = settled(2, STUCK, **STEERED, **two_at_once, shutdown_timeout="2s")
    world.signal("HUP")
    world.run(0.5)
    assert world.pool.quiescing == 2
    world.orders.clear()

    world.signal("TERM")
    world.run(60)

    assert said(world)[:4] == ["shutdown.started", "recycle.abandoned", "Steer", "ShutDoor"]
    assert world.steered_to == frozenset()
    assert world.times("worker.stopping") == pytest.approx([21.5, 21.5])
    assert [at for at, _ in orders_of(world, actions.CloseSockets)] == [21.5]
    everyone = [world.process(pid) for pid in (100, 101)]
    assert all(process.signals.count("TERM") == 1 for process in everyone)
    assert exit_status(world) == 0


def test_term_during_quiescing_leaves_it_less_time_never_more() -> None:
    world = settled(1, None, in_turn(STUCK), **STEERED, shutdown_timeout="2s")
    world.signal("HUP")
    world.run(1.5)
    assert world.pool.quiescing == 1
    began = world.times("worker.quiescing")[0]

    world.signal("TERM")
    world.run(60)

    asked = dict(zip([line["pid"] for line in world.lines("worker.stopping")],
                     world.times("worker.stopping"), strict=True))  # fmt: skip
    assert asked[100] == pytest.approx(21.5 + 1.0)
    assert asked[100] < began + 3.0
    assert world.process(100).signals.count("TERM") == 1
    assert exit_status(world) == 0


def test_a_quiescing_worker_has_never_more_time_because_of_a_shutdown() -> None:
    stuck = Behaviour(stops_after=None, seat_empties_after=None)
    world = settled(1, None, in_turn(stuck), **STEERED, recycle_timeout="4s")
    world.signal("HUP")
    world.run(1.5)

    world.signal("TERM")
    world.run(60)

    assert world.times("worker.killed") == pytest.approx([world.times("worker.quiescing")[0] + 4])


def test_int_that_hurries_the_drain_hurries_who_is_quiescing() -> None:
    """It was killed without its stop signal when the budget of 1 s was over."""
    slow = Behaviour(stops_after=0.1, seat_empties_after=None)
    world = settled(1, None, in_turn(slow), **STEERED, shutdown_delay="20s", shutdown_timeout="1s")
    world.signal("HUP")
    world.run(1.1)
    world.signal("TERM")

    world.signal("INT")
    world.run(60)

    assert world.process(100).signals[:2] == ["TERM", "CONT"]
    assert world.lines("worker.killed") == []
    assert exit_status(world) == 0


def test_ctrl_c_again_kills_who_is_quiescing() -> None:
    world = settled(2, Behaviour(stops_after=None, seat_empties_after=None), **STEERED)

    world.signal("INT", by_terminal=True)
    world.run(1.1)
    assert world.pool.quiescing == 2
    world.signal("INT", by_terminal=True)
    world.run(60)

    everyone = [world.process(pid) for pid in (100, 101)]
    assert not any("TERM" in process.signals for process in everyone)
    assert exit_status(world) == 124


def test_a_seat_that_empties_too_late_changes_nothing() -> None:
    late = Behaviour(stops_after=None, seat_empties_after=6.0)
    world = settled(1, None, in_turn(late), **STEERED, recycle_timeout="10s")

    world.signal("HUP")
    world.run(60)

    assert waits(world) == [5.0]
    assert world.times("worker.killed") == pytest.approx([31.01])


def test_a_kept_seat_is_let_go_of_when_a_shutdown_begins() -> None:
    """Nobody comes any more."""
    world = settled(2, **STEERED, restart_delay="30s", shutdown_delay="10s")
    world.kill(101)
    world.run(1)

    world.signal("TERM")

    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [1]


def test_a_crash_in_a_drain_leaves_its_seat_to_nobody() -> None:
    world = settled(2, **STEERED, shutdown_delay="10s")
    world.signal("TERM")

    world.kill(101)
    world.run(1)

    assert [order.seat for _, order in orders_of(world, actions.CloseSeat)] == [1]


def test_nothing_is_steered_once_the_sockets_are_closed() -> None:
    """There is no group any more, and each order would be refused."""
    world = settled(3, **STEERED)

    world.signal("TERM")
    world.run(60)

    kinds = (actions.Steer, actions.WatchSeat, actions.CloseSeat, actions.CloseSockets)
    assert type([order for _, order in world.orders if isinstance(order, kinds)][-1]) is kinds[-1]


@pytest.mark.parametrize("at", [0.0, 0.005, 0.1, 1.0, 1.2, 2.0, 2.5, 5.0, 30.0])
@pytest.mark.parametrize("empties_after", [0.0, 0.7, None])
@pytest.mark.parametrize("stops_after", [0.01, None])
def test_term_at_any_moment_is_over_by_its_deadline(
    at: float, empties_after: float | None, stops_after: float | None
) -> None:
    """However long the queues take; the oracle watches over the rest."""
    behaviour = Behaviour(stops_after=stops_after, seat_empties_after=empties_after)
    world = pool_of(3, behaviour, **STEERED, shutdown_timeout="4s", shutdown_delay="1s")
    world.queue_empty_after = None
    world.begin().run(at)
    world.signal("HUP")
    world.run(at / 10)
    asked_at = world.now

    world.signal("TERM")
    world.run(60)

    assert world.exit is not None
    assert world.exited_at - asked_at <= 1 + 4 + 1 + 1e-6
    everyone = [world.process(pid) for pid in range(100, 100 + world.spawned)]
    assert all(process.signals.count("TERM") == 1 for process in everyone)


def test_suspended_through_a_whole_shutdown_it_still_ends() -> None:
    world = settled(2, Behaviour(stops_after=None, seat_empties_after=None), **STEERED)
    world.signal("TERM")

    world.suspend(3600)
    world.run(5)

    assert exit_status(world) == 124
