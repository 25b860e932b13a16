"""The status: what it says of the pool, in which form, and that docs/ describes it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
from pools import pool_of
from simulated import Behaviour, World

from srvinit.listening import Listening
from srvinit.publishing import Publisher

if TYPE_CHECKING:
    from pools import Watched

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "status.schema.json").read_text())
UNIX = 1_700_000_000.0


class Published:
    """What a world's status says; it hears each log line from here on, as the log does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._publisher = Publisher(-1, world.now, lambda *_: None)
        self._heard = 0
        self._listening = Listening(lambda *_: None)
        self.clock = UNIX

    def read(self) -> dict[str, Any]:
        """Have one made, hold it against the schema, and return it."""
        for _, event, fields in self._world.logs[self._heard :]:
            self._publisher.hear(event, fields)
        self._heard = len(self._world.logs)
        now = (self._world.now, self._world.now + self.clock)
        document = self._publisher.compose(self._world.pool, self._listening, 0, now).decode()
        found: dict[str, Any] = json.loads(document)
        jsonschema.validate(found, SCHEMA)
        first = document.splitlines()[0]
        assert json.loads(first[:-1] + "}") == {name: found[name] for name in list(found)[:6]}
        return found


def published(count: int, *more: Any, **settings: Any) -> tuple[Watched, Published]:
    world = pool_of(count, *more, **settings)
    status = Published(world)
    return world.begin(), status


def test_docs_describe_the_status_as_it_is() -> None:
    """Run `python docs/generate_status.py` when this fails."""
    generated = runpy.run_path(str(DOCS / "generate_status.py"))["files"]()

    assert {path.name: path.read_text() for path in generated} == {
        path.name: text for path, text in generated.items()
    }


def test_a_pool_is_ready_once_all_its_workers_have_been() -> None:
    delays = iter((0.1, 0.1, 5.0))
    world, status = published(
        3, choose=lambda *_: Behaviour(ready_after=next(delays)), worker_timeout=30
    )
    world.run(1)
    early = status.read()
    world.run(10)
    late = status.read()

    assert (early["ready"], early["why"]) == (False, "starting: 2 of 3 workers ready so far")
    assert (late["ready"], late["why"]) == (True, "3 of 3 workers serve")
