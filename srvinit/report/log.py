"""The log: takes events at once, writes them as lines when it can, never blocks, never raises.

Stands on the way to the first worker's exec, so it imports nothing: `start` imports structlog (some
50 ms) once a worker runs. Events are queued, with their true time, until `flush`: to make a line
takes as long as to forward a signal, and a worker that was just signalled may have to wait for it.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from srvinit.report.render import Renderer
    from srvinit.report.writer import Writer

# Events that wait for `start` or `flush`; a start brings some ten, or two for each worker.
QUEUED_EVENTS = 4000

# Sentences kept for the termination message: more than fit into its 4096 bytes.
KEPT_SENTENCES = 64

# In characters: enough for a person, and what is kept stays small.
LONGEST_SENTENCE = 1000


class Log:
    """Where srvinit says what happens.

    `form` is log.format ("auto", "json", "console"), `level` log.level. `fd` stays its owner's, and
    no flag of it is ever changed.
    """

    def __init__(self, fd: int = 2, form: str = "auto", level: str = "info") -> None:
        self._fd = fd
        self._form = form
        self._level = level
        self._queue: list[tuple[str, Mapping[str, Any], float, str]] = []
        self._unqueued = 0
        self._render: Renderer | None = None
        self._writer: Writer | None = None
        self._unheard: set[str] = set()  # events that leave no trace at this level
        self._kept: list[tuple[str, Mapping[str, Any], float]] = []  # what `last` is made of

    def emit(
        self,
        event: str,
        fields: Mapping[str, Any] | None = None,
        at: float | None = None,
        level: str = "",
    ) -> None:
        """Log an event of the catalogue that happened at `at` (wall-clock seconds; None: now).

        `fields` must not be changed afterwards. `level` where the case decides it; else it is the
        catalogue's.
        """
        if event in self._unheard and not level:
            return  # orphan.reaped, say, which comes by the thousand
        when = time.time() if at is None else at
        if len(self._queue) >= QUEUED_EVENTS:
            self.flush()
        if len(self._queue) < QUEUED_EVENTS:
            self._queue.append((event, fields or {}, when, level))
        else:
            self._unqueued += 1

    def start(self) -> None:
        """Import what lines are made with, and write the queued events. Does nothing twice.

        Raises OSError, ImportError or MemoryError where something lacks; the events stay queued.
        """
        if self._render is not None:
            return
        from srvinit.report.writer import Writer

        unheard, render = self._below_level(), self._make_renderer()
        self._writer = Writer(self._fd, self._gap_line)
        self._unheard, self._render = unheard, render  # none before all: a later try starts anew
        self.flush()
        if self._unqueued:
            self._writer.count_lost(self._unqueued)

    def configure(self, form: str, level: str) -> None:
        """Take over log.format and log.level after the settings were read again."""
        self.flush()
        self._level = level
        if self._render is not None:
            self._unheard = self._below_level()
        if form != self._form:
            self._form = form
            if self._render is not None:
                self._render = self._make_renderer()

    def flush(self) -> None:
        """Make lines of the events that came, and try to write what waits.

        Worth calling after events, and when `retry_in` is over.
        """
        if self._writer is None:
            return
        queue, self._queue = self._queue, []
        for queued in queue:
            self._put(*queued)
        self._writer.flush()

    def retry_in(self) -> float | None:
        """Say in how many seconds `flush` is worth a try; None when nothing waits."""
        return None if self._writer is None else self._writer.retry_in()

    @property
    def backlog(self) -> bool:
        """Whether lines wait for their reader."""
        return self._writer is not None and self._writer.backlog

    @property
    def dropped(self) -> int:
        """How many lines were lost so far."""
        return self._unqueued if self._writer is None else self._writer.lost

    @property
    def last(self) -> list[str]:
        """The last events as sentences with their time, for the termination message."""
        from srvinit.report.sentences import sentence

        return [
            _clock(at) + sentence(event, fields)[:LONGEST_SENTENCE]
            for event, fields, at in self._kept
        ]

    def close(self) -> None:
        """Write the last words, as far as that is possible without waiting."""
        self.start()
        self.flush()
        if self._writer is not None:
            self._writer.close()

    def _make_renderer(self) -> Renderer:
        import posix

        from srvinit.report.late import import_renderer

        is_terminal = posix.isatty(self._fd)
        is_console = self._form == "console" or (self._form == "auto" and is_terminal)
        return import_renderer()("console" if is_console else "json", colour=is_terminal)

    def _below_level(self) -> set[str]:
        from srvinit.report.catalogue import EVENTS, LEVELS

        least = min(LEVELS[self._level], LEVELS["info"])  # `last` has what info has
        return {name for name, event in EVENTS.items() if LEVELS[event.level] < least}

    def _put(self, event: str, fields: Mapping[str, Any], at: float, level: str) -> None:
        from srvinit.report.catalogue import EVENTS, LEVELS

        name = EVENTS[event].level if event in EVENTS else "error"
        name = level if level in LEVELS else name
        weight = LEVELS[name]
        if weight >= LEVELS["info"]:
            self._kept.append((event, fields, at))
            del self._kept[:-KEPT_SENTENCES]
        if weight >= LEVELS[self._level] and self._render is not None and self._writer is not None:
            self._writer.write(self._render(name, event, fields, at))

    def _gap_line(self, lines: int) -> bytes:
        assert self._render is not None  # noqa: S101  the writer is made after it
        return self._render("warning", "log.dropped", {"lines": lines}, time.time())


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S ", time.gmtime(at))
