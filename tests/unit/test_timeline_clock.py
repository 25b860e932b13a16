"""A clock that is set while srvinit runs does not tear the picture apart."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from srvinit.report.timeline.clock import MOST_CORRECTIONS, straighten
from srvinit.report.timeline.lines import Event, read

RECORDED = Path(__file__).parent / "recorded/timeline"


def story() -> list[Event]:
    lines = (RECORDED / "story.log").read_text().splitlines()
    return [event for _, event in read(lines, "")]


def set_clock(events: list[Event], place: int, ahead: float) -> None:
    for event in events[place:]:
        event.at += ahead


def test_a_clock_that_nobody_touched_has_no_steps() -> None:
    events = story()
    before = [event.at for event in events]
    assert straighten(events) == []
    assert [event.at for event in events] == before


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 86400.0 * 365, 20.0, -20.0])
def test_a_step_is_found_and_taken_back(ahead: float) -> None:
    events, right = story(), [event.at for event in story()]
    place = next(n for n, event in enumerate(events) if event.name == "signal.received")
    set_clock(events, place, ahead)

    (step,) = straighten(events)

    assert step.seconds == pytest.approx(ahead, abs=3)  # of the quiet seconds before it
    assert step.at == pytest.approx(right[place], abs=3)
    for event, at in zip(events, right, strict=True):
        assert event.at == pytest.approx(at, abs=3)
    assert all(one.at <= other.at for one, other in itertools.pairwise(events))


def test_lines_of_one_moment_may_be_in_another_order() -> None:
    events = story()
    events[5].at -= 0.3
    assert straighten(events) == []
    assert events[5].at == events[4].at


def test_a_log_that_contradicts_itself_is_left_as_it_is_after_a_while() -> None:
    events = []
    for number in range(2000):
        at = 100.0 + number * 10
        events.append(Event(at, "worker.started", "info", "", {"slot": 0, "pid": number}))
        fields = {"slot": 0, "pid": number, "lived_s": (number * 7919) % 100000}
        events.append(Event(at + 5, "worker.exited", "info", "", fields))
    steps = straighten(events)
    assert len(steps) <= MOST_CORRECTIONS
    assert all(one.at <= other.at for one, other in itertools.pairwise(events))
