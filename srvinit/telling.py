"""What srvinit says: kept until the first workers run, then logged and put into the status.

The log and the status cost imports, which would stand on the way to the first worker's exec.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvinit.publishing import Publisher
    from srvinit.report.log import Log
    from srvinit.setup import Setup

# Events kept until there is a log; beyond it the log is opened earlier, and counts those it drops.
MOST_EARLY = 4000


class Telling:
    """Takes events at once. `log` and `publisher` are made when the first of them is used."""

    def __init__(self, setup: Setup) -> None:
        self.began_at, self._began_at_wall = time.monotonic(), time.time()
        self.count: tuple[int, str] | None = None  # worker.count, worked out, and of what
        self.reserved_fd = -1  # the status's place until there is a publisher
        self._setup = setup
        self._log: Log | None = None
        self._publisher: Publisher
        self._early: list[tuple[str, dict[str, Any], float, str]] = []  # until there is a log

    def emit(self, event: str, fields: dict[str, Any], level: str = "") -> None:
        """Say an event of the catalogue; `level` where the case decides it."""
        if self._log is None and len(self._early) < MOST_EARLY:
            self._early.append((event, fields, time.time(), level))
        else:
            self.log.emit(event, fields, time.time(), level)
            self._publisher.hear(event, fields)

    def emit_exit(self, status: int, reason: str) -> None:
        """Say the last: that srvinit exits with this status, and why."""
        uptime_s = round(time.monotonic() - self.began_at, 3)
        said = {"status": status, "reason": reason, "uptime_s": uptime_s}
        self.emit("srvinit.exiting", said, "info" if status == 0 else "warning")

    @property
    def is_open(self) -> bool:
        """Whether there is a log by now."""
        return self._log is not None

    @property
    def log(self) -> Log:
        """The log, with all that was to be said before there was one. Costs an import."""
        if self._log is None:
            from srvinit.introduction import introduction
            from srvinit.publishing import Publisher
            from srvinit.report.log import Log

            options = self._setup.options
            self._log = Log(2, options.log_format, options.log_level)
            if self.count is not None:  # the settings were not refused
                for event, fields in introduction(self._setup, *self.count):
                    self._log.emit(event, fields, self._began_at_wall)
            self._publisher = Publisher(self.reserved_fd, self.began_at, self.emit)
            for said in self._early:
                self._log.emit(*said)
                self._publisher.hear(*said[:2])
        return self._log

    @property
    def publisher(self) -> Publisher:
        """Who keeps the status published. Costs an import, as `log` does."""
        self.log  # noqa: B018  made with it
        return self._publisher

    @property
    def status_fd(self) -> int:
        """Where the status is, or will be; -1: nowhere."""
        return self.reserved_fd if self._log is None else self._publisher.fd
