"""The published status says what is so, after every step, whatever happens."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import simulator
from published import Published

if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event

SEEDS = range(30)
LEAST_LOOKS = 1000


def looks_of(seed: int) -> int:
    """Live through a seed, look at the status after half of all steps; return how often."""
    run = simulator.Run(seed)
    status = Published(run.world)
    dice = Random(seed)  # noqa: S311  it shall be predictable
    hear, looks = run.world.witness, 0

    def look(event: Event, orders: list[Action]) -> None:
        nonlocal looks
        hear(event, orders)
        pool = run.world.pool
        # The answers to Spawn and ReadConfig come next, and nobody looks before.
        if not (pool.spawning or pool.is_reading) and dice.random() < 0.5:
            looks += 1
            assert status.differences() == [], f"seed {seed}, after {event}"

    run.world.witness = look
    run.live()
    return looks


def test_the_status_agrees_with_the_pool_after_every_step() -> None:
    """Also where it was not published for a while, as under load: then it tells of all at once."""
    assert sum(map(looks_of, SEEDS)) > LEAST_LOOKS
