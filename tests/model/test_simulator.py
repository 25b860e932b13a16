"""Thousands of worker lives in virtual time, every promise checked after every step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import simulator
from pools import pool_of
from simulated import Behaviour

from srvinit.lifecycle import events, reactions, worker

if TYPE_CHECKING:
    import pytest

FIRST_SEEDS = 300
BUDGET_S = 14.0


class Rows(dict[Any, Any]):
    """A table that remembers which of its rows were asked for."""

    def __init__(self, rows: dict[Any, Any]) -> None:
        super().__init__(rows)
        self.reached: set[Any] = set()

    def get(self, key: Any, default: Any = None) -> Any:
        self.reached.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.reached.add(key)
        return super().__contains__(key)

    def missed(self) -> list[Any]:
        return [key for key in self if key not in self.reached]


def tour() -> None:
    """Reach the rows that chance reaches too seldom to wait for."""
    for settle, reset in (("9s", "9s"), ("0s", "9s"), ("0s", "0s")):
        # Ctrl-C twice, while the last worker serves the queue: READY, SETTLED, PROVEN
        world = pool_of(1, bind=[":8099"], recycle_settle=settle, restart_reset=reset)
        world.queue_empty_after = None
        world.begin().run(0.5)
        for _ in range(2):
            world.signal("INT", by_terminal=True)
            world.run(1.1)
    # Ctrl-C twice, while a worker that hung writes its stack dump
    hanging = Behaviour(pings_every=0.9, hangs_after=0.5, aborts=False, stops_after=None)
    world = pool_of(
        1, hanging, worker_require="notify", worker_watchdog="1s", shutdown_margin="9s"
    ).begin()
    world.run(2.5)
    for _ in range(2):
        world.signal("INT", by_terminal=True)
        world.run(1.1)
    # everything that may come, in each phase of an end that takes as long as it can
    stuck = Behaviour(stops_after=None, killed_after=None, orphans=1)
    world = pool_of(1, stuck, shutdown_delay="5s", signal=["QUIT=ignore"])
    world.orphans_end_after = {"TERM": None, "KILL": None}
    world.begin().run(0.5)
    world.signal("TERM")
    for phase, seconds in (("draining", 6.0), ("stopping", 14.6), ("sweeping", 0.0)):
        assert world.pool.phase == phase
        world.feed(events.Announced(100, "still here"))
        world.feed(events.Begin())
        for event in (events.SeatWaits(0), events.QueueStuck(0, 9), events.QueueDrained(0)):
            world.feed(event)
        world.feed(events.TooLarge(100, 2, 1))
        world.feed(events.PathsChanged(["/etc/app"]))
        for name in ("TERM", "HUP", "TTIN", "TTOU", "USR1", "QUIT", "CONT", "WINCH", "TSTP"):
            world.signal(name, worker_has_terminal=name in {"WINCH", "TSTP"})
        world.run(seconds)
    world.feed(events.QueueEmptied())
    world.signal("INT")


def test_seeds_reach_every_row_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reaching every row of the table is itself a test; no row may raise, in any order."""
    tables = {}
    for module, name in (
        (worker, "TRANSITIONS"),
        (worker, "IGNORED"),
        (reactions, "REACTIONS"),
        (reactions, "IGNORED"),
    ):
        rows = tables[module.__name__, name] = Rows(getattr(module, name))
        monkeypatch.setattr(module, name, rows)

    tour()
    simulator.run_many(range(FIRST_SEEDS), float("inf"))

    missed = {key: rows.missed() for key, rows in tables.items() if rows.missed()}
    assert missed == {}


def test_new_seeds_hold_every_promise(capsys: pytest.CaptureFixture[str]) -> None:
    """As many as the time allows; a failure names its seed, and replays with --seed."""
    began = time.perf_counter()

    ran, lives, rate = simulator.run_many(range(FIRST_SEEDS, 10**9), BUDGET_S)

    with capsys.disabled():
        print(f"\n{ran} seeds, {lives} worker lives, {rate:.0f} lives a second of CPU")
    assert ran > 20, f"only {ran} seeds in {time.perf_counter() - began:.1f} s"


def test_a_seed_is_replayed_to_the_last_event() -> None:
    assert simulator.replay(7) == simulator.replay(7)


def test_a_replay_is_a_test_that_runs() -> None:
    """What is printed for a failure is Python, and the core does the same again."""
    text = simulator.replay(3)
    names: dict[str, Any] = vars(events) | {"Pool": simulator.World(simulator.DrawnOptions(), 1)}
    names |= {"Options": simulator.DrawnOptions, "Pool": type(names["Pool"].pool)}

    exec(text, names)  # noqa: S102  our own text
    names["test_seed_3"]()
