"""The reader of a log who stalls, goes away and comes again: a FIFO, read when it is asked to be.

Its writer keeps it open, so what was in it when a reader left is there for the next one (fifo(7)).
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SMALL_BYTES = 4096
USUAL_BYTES = 65536


class Fifo:
    """A log's lines as they come; `writer` is the descriptor to hand to who writes them."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self._reader: int | None = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.writer = os.open(path, os.O_WRONLY)
        self._is_stalled = False
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        self.strays: list[str] = []

    def take(self) -> None:
        """Read what is there, unless nobody reads."""
        while self._reader is not None and not self._is_stalled:
            try:
                block = os.read(self._reader, USUAL_BYTES)
            except BlockingIOError:
                return
            if not block:
                return
            *whole, self._rest = (self._rest + block).split(b"\n")
            for line in whole:
                self._add(line.decode(errors="backslashreplace"))

    def stall(self) -> None:
        """Read no more, and leave little room."""
        assert self._reader is not None
        self.take()
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, SMALL_BYTES)
        self._is_stalled = True

    def leave(self) -> None:
        """Go away: who writes now is told that nobody reads."""
        assert self._reader is not None
        os.close(self._reader)
        self._reader = None

    def come(self) -> None:
        """Read on."""
        if self._reader is None:
            self._reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        self._is_stalled = False
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, USUAL_BYTES)
        self.take()

    def close(self) -> None:
        """Close what is open."""
        if self._reader is not None:
            os.close(self._reader)

    def found(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        """Return the events of this name, from the `since`th of all on."""
        return [event for event in self.events[since:] if event["event"] == name]

    def _add(self, text: str) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if isinstance(event, dict) and {"timestamp", "level", "event"} <= event.keys():
            self.events.append(event)
        else:
            self.strays.append(text)
