"""Whose queue is stuck: two looks, and another worker's queue that is empty."""

from __future__ import annotations

import pytest

from srvinit.backlogs import Backlogs
from srvinit.lifecycle.events import Event, QueueDrained, QueueStuck

LIMIT = 10


class Queues:
    """The seats, as far as a look asks for them: all of them are steered to."""

    def __init__(self) -> None:
        self.lengths: dict[int, int] = {}

    @property
    def steered_to(self) -> frozenset[int]:
        return frozenset(self.lengths)

    def queue_lengths(self) -> dict[int, int]:
        return dict(self.lengths)


def looks(*lengths: dict[int, int]) -> list[list[Event]]:
    """Look once at each of these; list what was told each time."""
    queues, backlogs = Queues(), Backlogs()
    told = []
    for queues.lengths in lengths:
        told.append(list(backlogs.look(queues, LIMIT)))  # type: ignore[arg-type]
    return told


def test_a_queue_that_grows_while_anothers_is_empty_is_stuck() -> None:
    assert looks({0: 10, 1: 0}, {0: 12, 1: 0}) == [[], [QueueStuck(0, 12)]]


def test_it_is_told_as_long_as_it_is_so_and_its_end_once() -> None:
    stuck = {0: 10, 1: 0}
    told = looks(stuck, stuck, stuck, {0: 3, 1: 0}, {0: 0, 1: 0}, {0: 0, 1: 0})
    assert told[1:] == [[QueueStuck(0, 10)]] * 2 + [[], [QueueDrained(0)], []]


def test_a_seat_that_is_closed_has_drained() -> None:
    stuck = {0: 10, 1: 0}
    assert looks(stuck, stuck, {1: 0})[2] == [QueueDrained(0)]


@pytest.mark.parametrize(
    "lengths",
    [
        [{0: 9, 1: 0}, {0: 9, 1: 0}],  # too few wait
        [{0: 9, 1: 0}, {0: 30, 1: 0}],  # a moment ago too few waited
        [{0: 30, 1: 0}, {0: 29, 1: 0}],  # it takes some
        [{0: 30, 1: 1}, {0: 40, 1: 1}],  # all have too much to do
        [{1: 0}, {0: 40, 1: 0}],  # it is new
    ],
)
def test_other_queues_are_not_stuck(lengths: list[dict[int, int]]) -> None:
    assert looks(*lengths) == [[], []]


def test_a_single_worker_that_takes_nobody_is_told_too() -> None:
    assert looks({0: 10}, {0: 10})[1] == [QueueStuck(0, 10)]
