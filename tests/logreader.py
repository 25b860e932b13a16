"""Reads the log of a running srvinit in a thread, so that tests can wait for a line.

The thread ends with the process, not with the pipe: workers hold the pipe too, and a leaked one
must not make a test wait. Lines are taken for srvinit's own if they are JSON objects with a
timestamp, a level and an event; all others are strays.
"""

from __future__ import annotations

import json
import os
import select
import threading
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable


class LogReader:
    """What came over stderr so far; any thread may wait for more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._strays: list[str] = []
        self._rest = b""
        self._ended = False
        self._thread: threading.Thread | None = None
        self._stderr: IO[bytes] | None = None

    def start(self, process: subprocess.Popen[bytes]) -> None:
        self._stderr = process.stderr
        self._pidfd = os.pidfd_open(process.pid)
        if self._stderr is not None:
            os.set_blocking(self._stderr.fileno(), False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def snapshot(self) -> tuple[list[str], list[dict[str, Any]], list[str]]:
        with self._changed:
            return list(self._lines), list(self._events), list(self._strays)

    def wait_for(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait until the condition holds; False when the time is up, or srvinit ended without."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._ended, within)
            return condition()

    def wait_for_end(self, within: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, within)

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.join()
        if self._stderr is not None:
            self._stderr.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if self._stderr is not None:
            poll.register(self._stderr, select.POLLIN)
        ended = False
        while not ended:
            ready = [fd for fd, _ in poll.poll()]
            ended = self._pidfd in ready
            # The end is known before the last lines are read: what was written comes out now.
            if self._stderr is not None and not self._take():
                poll.unregister(self._stderr)
                self._stderr.close()
                self._stderr = None
        os.close(self._pidfd)
        with self._changed:
            if self._rest:
                self._add(self._rest)
            self._ended = True
            self._changed.notify_all()

    def _take(self) -> bool:
        """Take in what is there; False once every writer has closed the pipe."""
        assert self._stderr is not None
        while True:
            try:
                block = os.read(self._stderr.fileno(), 65536)
            except BlockingIOError:
                return True
            if not block:
                return False
            *whole, self._rest = (self._rest + block).split(b"\n")
            with self._changed:
                for line in whole:
                    self._add(line)
                self._changed.notify_all()

    def _add(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace")
        self._lines.append(text)
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict) and {"timestamp", "level", "event"} <= parsed.keys():
            self._events.append(parsed)
        else:
            self._strays.append(text)
