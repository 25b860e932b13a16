"""The search that holds a log against the core: it takes true logs, and no other.

The logs are the simulator's own. Runs that suspend srvinit or have a worker hang are left out: in
virtual time all that was missed falls on the same instant, and no order of it is told.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from evidence import TELLS, Line
from retelling import SAID_BY_CORE, Beginning, retell
from simulator import Run

from srvinit.lifecycle import events

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = range(60)
LIVES = {"worker.started", "worker.exited"}


class Punctual(Run):
    """A run in which srvinit is never late, and whose log is kept."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.world.keeps_history = True
        self.world.suspend = lambda _: None  # type: ignore[method-assign]
        self.settings = [(self.world.options, self.count)]
        self.beginning = Beginning(
            self.world.options, self.count, self.world.is_steered, self.settings
        )

    def _next_config(self) -> Any:
        event = super()._next_config()
        if isinstance(event, events.ConfigRead):
            self.settings.append((event.options, event.count))
        return event

    def lines(self) -> list[Line]:
        """Return the log, as it is read from JSON."""
        exit_ = self.world.exit
        assert exit_ is not None
        end = {"status": exit_.status, "reason": exit_.reason}
        told = [Line(at, event, fields) for at, event, fields in self.world.logs]
        return [*told, Line(self.world.exited_at, "srvinit.exiting", end)]


def logs() -> list[tuple[int, Beginning, list[Line]]]:
    """Live through the seeds; leave out what the module says."""
    found = []
    for seed in SEEDS:
        run = Punctual(seed)
        run.live()
        lines = [line for line in run.lines() if line.event in SAID_BY_CORE]
        if not any(line.event == "worker.hung" for line in lines):
            found.append((seed, run.beginning, lines))
    return found


TRUE_LOGS = logs()


def test_a_true_log_is_told_again() -> None:
    unlike = {seed: retell(lines, beginning) for seed, beginning, lines in TRUE_LOGS}
    assert len(unlike) > 25
    assert not {seed: why for seed, why in unlike.items() if why}


def without(lines: list[Line], place: int) -> list[Line]:
    return lines[:place] + lines[place + 1 :]


def twice(lines: list[Line], place: int) -> list[Line]:
    return [*lines[: place + 1], *lines[place:]]


def changed(**fields: Any) -> Callable[[list[Line], int], list[Line]]:
    def change(lines: list[Line], place: int) -> list[Line]:
        at, event, said = lines[place]
        return [*lines[:place], Line(at, event, {**said, **fields}), *lines[place + 1 :]]

    return change


TAMPERINGS = {
    "missing": without,
    "twice": twice,
    "another process": changed(pid=7),
    "another slot": changed(slot=99),
    "another generation": changed(generation=99),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_life_that_is_not_told_as_it_was_is_found(how: str) -> None:
    """One line of a worker's life in each log: above all, each process must be in it."""
    believed = []
    for seed, beginning, lines in TRUE_LOGS:
        draw = Random(seed)  # noqa: S311  no secret
        place = draw.choice([at for at, line in enumerate(lines) if line.event in LIVES])
        if not retell(TAMPERINGS[how](lines, place), beginning):
            believed.append((seed, place, lines[place]))
    assert not believed


def test_what_follows_from_the_others_must_be_told() -> None:
    """A line of the core's own deeds is missing: none is believed."""
    believed = []
    for seed, beginning, lines in TRUE_LOGS:
        deeds = {"worker.stopping", "worker.killed", "recycle.started", "recycle.finished"}
        places = [at for at, line in enumerate(lines) if line.event in deeds][:3]
        believed += [
            (seed, place, lines[place])
            for place in places
            if not retell(without(lines, place), beginning)
        ]
    assert not believed


def test_what_tells_of_something_is_said_by_the_core() -> None:
    """Under another name its lines would be passed over, and nothing held against them."""
    assert TELLS.keys() <= SAID_BY_CORE


def test_where_a_log_stops_being_true_is_said() -> None:
    _, beginning, lines = TRUE_LOGS[0]
    assert "line 0 of " in retell(without(lines, 0), beginning)
    assert "no line, where nothing leads on" in retell(lines[:-1], beginning)
