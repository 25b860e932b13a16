"""What the tests of the pool share: a world with one line of settings, watched by the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oracle import Oracle
from simulated import Behaviour, World

from srvinit.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable


class Watched(World):
    """A world in which every promise is checked after every step."""

    def feed(self, event: Any) -> None:
        super().feed(event)
        assert not self.oracle.broken, self.oracle.broken

    oracle: Oracle


def pool_of(
    count: int,
    behaviour: Behaviour | None = None,
    choose: Callable[..., Behaviour] | None = None,
    *,
    is_steered: bool = False,
    **settings: Any,
) -> Watched:
    """Make a world with a pool of `count` workers; `begin` starts it."""
    world = Watched(Options(**settings), count, choose or (lambda *_: behaviour or Behaviour()))
    world.is_steered = is_steered
    world.oracle = Oracle(world)
    return world


def settled(count: int, *more: Any, seconds: float = 20.0, **settings: Any) -> Watched:
    """Make one whose first workers are all proven."""
    world = pool_of(count, *more, **settings).begin()
    world.run(seconds)
    assert world.pool.proven == count, "not all first workers are proven"
    return world


def generations(world: World) -> list[int]:
    """List the generations of the live workers, by slot."""
    workers = sorted(world.pool.everyone(), key=lambda worker: (worker.slot, worker.number))
    return [worker.generation for worker in workers]


def exit_status(world: World) -> int:
    """Tell what srvinit exited with; it has to have exited."""
    assert world.exit is not None, f"srvinit lives: {world.pool.phase}"
    return world.exit.status
