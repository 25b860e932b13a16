"""The status of a simulated srvinit: it hears what the log hears, as in the supervisor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

from srvinit.lifecycle.actions import Log
from srvinit.lifecycle.worker import COUNTED_STATES, SERVING_STATES
from srvinit.listening import Listening
from srvinit.publishing import Publisher

if TYPE_CHECKING:
    from simulated import World

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "status.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
UNIX = 1_700_000_000.0


class Published:
    """What a world's status says, from before `begin` on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._publisher = Publisher(-1, world.now, lambda *_: None)
        self._listening = Listening(lambda *_: None)
        self._witness, world.witness = world.witness, self._hear
        self.clock = UNIX  # what the wall clock says when the world begins
        self.orphans_reaped = 0
        self.lines_dropped = 0

    def _hear(self, event: Event, orders: list[Action]) -> None:
        for order in orders:
            if isinstance(order, Log):
                self._publisher.hear(order.event, order.fields)
        if self._witness is not None:
            self._witness(event, orders)

    def hear(self, event: str, **fields: Any) -> None:
        """Tell it an event that the supervisor makes."""
        self._publisher.hear(event, fields)

    def text(self) -> str:
        """Have a document made, of what changed since the last."""
        now = (self._world.now, self._world.now + self.clock)
        pool = self._world.pool
        return self._publisher.compose(pool, self._listening, self.lines_dropped, now).decode()

    def read(self) -> dict[str, Any]:
        """Have one made, and return it."""
        found: dict[str, Any] = json.loads(self.text())
        return found

    def differences(self) -> list[str]:
        """Hold one against the pool, counted anew, and say what differs."""
        world, pool, told = self._world, self._world.pool, self.read()
        workers = {
            worker.pid: (worker.slot, worker.generation, worker.state, worker.why)
            for worker in pool.workers.values()
        }
        states = [worker.state for worker in pool.everyone()]
        ended, running = told["counters"]["recycles"], told["recycles"]["running"]
        pairs = {
            "schema": ([fault.message for fault in VALIDATOR.iter_errors(told)], []),
            "workers": (
                {
                    one["pid"]: (one["slot"], one["generation"], one["state"], one["why"])
                    for one in told["workers"]
                },
                workers,
            ),
            "serving": (told["serving"], sum(state in SERVING_STATES for state in states)),
            "settled": (told["settled"], sum(state in COUNTED_STATES for state in states)),
            "count": (told["count"], pool.count),
            "generation": (told["generation"], pool.generation),
            "phase": (told["phase"], pool.phase),
            "started": (told["counters"]["workers_started"], world.spawned),
            "running": (running is not None, pool.recycle is not None),
            "begun": (told["recycles"]["begun"], sum(ended.values()) + (running is not None)),
            "begun ones": (told["recycles"]["begun"], pool.generation - 1),
            "ready": (told["ready"] and (pool.phase != "serving" or not told["serving"]), False),
        }
        if pool.phase == "serving":
            pairs["queued"] = (told["recycles"]["queued"], pool.is_recycle_queued)
        return [
            f"{name}: {got!r}, not {wanted!r}"
            for name, (got, wanted) in pairs.items()
            if got != wanted
        ]
