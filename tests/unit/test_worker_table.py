"""The tables hold every pair exactly once, and what cannot be is refused by name."""

from __future__ import annotations

import ast
import inspect
from itertools import product
from pathlib import Path

import pytest

from srvinit.errors import LifecycleError
from srvinit.lifecycle import deeds, events, reactions, worker
from srvinit.lifecycle.pool import Pool
from srvinit.lifecycle.worker import STATES, Worker
from srvinit.options import Options

WORKER_SETS = (worker.TRANSITIONS, worker.IGNORED, worker.IMPOSSIBLE)
REACTION_SETS = (reactions.REACTIONS, reactions.IGNORED, reactions.IMPOSSIBLE)


@pytest.mark.parametrize(
    ("sets", "pairs"),
    [
        (WORKER_SETS, set(product(worker.STATES, worker.EVENTS))),
        (REACTION_SETS, set(product(reactions.LASTING, reactions.KEYS))),
    ],
    ids=["worker", "reactions"],
)
def test_each_pair_stands_in_exactly_one_of_the_three_places(
    sets: tuple[set[object], ...], pairs: set[object]
) -> None:
    standing = [pair for one in sets for pair in one]

    assert set(standing) == pairs
    assert len(standing) == len(pairs)


@pytest.mark.parametrize("ignored", [worker.IGNORED, reactions.IGNORED])
def test_whatever_is_ignored_has_a_reason(ignored: dict[object, str]) -> None:
    assert all(reason and not reason.endswith(".") for reason in ignored.values())


def made(state: str) -> Worker:
    one = Worker(7, (2, 5), 1, Options(), "start", 0.0)
    one.pid = 4711
    one.state = state
    return one


SAMPLES = {
    events.Spawned: events.Spawned(7, 4711),
    events.SpawnFailed: events.SpawnFailed(7, "EAGAIN"),
    events.BecameReady: events.BecameReady(4711),
    events.Overdue: events.Overdue(),
    events.Pinged: events.Pinged(4711),
    events.Hung: events.Hung(),
    events.Quiesce: events.Quiesce(9.0, "test"),
    events.SeatEmptied: events.SeatEmptied(4711),
    events.Retire: events.Retire(9.0, "test"),
    events.KillNow: events.KillNow("test"),
    events.Exited: events.Exited(4711, 0),
}


@pytest.mark.parametrize(("state", "event"), sorted(worker.IMPOSSIBLE, key=str))
def test_an_impossible_pair_is_refused_naming_state_event_slot_and_pid(
    state: str, event: type[events.Event]
) -> None:
    with pytest.raises(LifecycleError) as refused:
        made(state).take(SAMPLES[event], 1.0)

    for named in (state, event.__name__, "slot 2", "pid 4711"):
        assert named in str(refused.value)


@pytest.mark.parametrize(("state", "event"), sorted(worker.IGNORED, key=str))
def test_an_ignored_pair_changes_nothing(state: str, event: type[events.Event]) -> None:
    one = made(state)
    one.deadline = 5.0

    orders = one.take(SAMPLES[event], 1.0)

    assert (orders, one.state, one.deadline) == ([], state, 5.0)


@pytest.mark.parametrize(("state", "event"), sorted(worker.TRANSITIONS, key=str))
def test_a_row_leads_to_the_state_it_names(state: str, event: type[events.Event]) -> None:
    one = made(state)

    one.take(SAMPLES[event], 1.0)

    assert one.state == worker.TRANSITIONS[state, event][0]


@pytest.mark.parametrize(("phase", "key"), sorted(reactions.IMPOSSIBLE, key=str))
def test_an_impossible_reaction_is_refused_naming_phase_and_event(
    phase: str, key: type[events.Event]
) -> None:
    samples = {
        events.Begin: events.Begin(),
        events.ConfigRead: events.ConfigRead(Options(), 1),
        events.ConfigRejected: events.ConfigRejected([]),
        events.QueueEmptied: events.QueueEmptied(),
        events.OrphansGone: events.OrphansGone(),
    }
    pool = Pool(Options(), 1)
    pool.phase = phase

    with pytest.raises(LifecycleError, match=rf"{key.__name__}.*{phase}"):
        reactions.react(pool, samples[key], 0.0)


def test_gone_has_no_way_out_and_every_state_has_a_way_in() -> None:
    assert {state for state, _ in worker.TRANSITIONS} == set(STATES) - {worker.GONE}
    assert {state for state, _ in worker.TRANSITIONS.values()} == set(STATES) - {worker.SPAWNING}


def test_every_living_state_ends_with_the_exit() -> None:
    living = set(STATES) - {worker.SPAWNING, worker.GONE}

    assert all(worker.TRANSITIONS[state, events.Exited][0] == worker.GONE for state in living)


def test_what_a_row_does_asks_for_no_state() -> None:
    """An `if` on a worker's state in a deed would be a row that the table does not show."""
    tree = ast.parse(Path(inspect.getfile(deeds)).read_text())
    tests = [
        ast.unparse(node.test)
        for node in ast.walk(tree)
        if isinstance(node, ast.If | ast.IfExp | ast.While)
    ]
    named = {f"is_{state}" for state in STATES} | {state.upper() for state in STATES} | {".state"}

    assert all(deed.__module__ == deeds.__name__ for _, deed in worker.TRANSITIONS.values())
    assert "TYPE_CHECKING" in tests, "no deed was looked at"
    assert not [test for test in tests if any(name in test for name in named)]


def test_an_event_about_nobody_is_refused() -> None:
    pool = Pool(Options(), 1)

    with pytest.raises(LifecycleError, match="names no worker"):
        pool.handle(events.BecameReady(99), 0.0)
