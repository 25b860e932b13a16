"""Keep the events of a run, and write them as a unit test to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srvinit.lifecycle import events
from srvinit.options import Options

if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.lifecycle.pool import Pool


class DrawnOptions(Options):
    """Options that remember what they were made of."""

    def __init__(self, **drawn: Any) -> None:
        super().__init__(**drawn)
        self.drawn = drawn

    def __repr__(self) -> str:
        return f"Options(**{self.drawn!r})"


class Recording:
    """All events that a pool is handed from now on; it must not have been handed any yet."""

    def __init__(self, pool: Pool) -> None:
        self.begins = f"pool = Pool({pool.options!r}, {pool.count})"
        self.seen: list[tuple[float, Event]] = []
        self._handle = pool.handle
        pool.handle = self._remember  # type: ignore[method-assign]

    def _remember(self, event: Event, now: float) -> list[Action]:
        self.seen.append((now, event))
        return self._handle(event, now)

    def as_test(self, name: str, failure: str) -> str:
        """Write the run as a test; the core needs nothing else to do the same again."""
        lines = [f"def test_{name}() -> None:", f'    """{failure}"""', f"    {self.begins}"]
        for now, event in self.seen:
            shown = repr(event)
            if isinstance(event, events.ConfigRead):
                shown = f"ConfigRead({event.options!r}, {event.count})"
            lines.append(f"    pool.handle({shown}, {now!r})")
        return "\n".join(lines)
