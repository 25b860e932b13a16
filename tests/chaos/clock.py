"""A wall clock that jumps for srvinit and its workers alone: libfaketime, its offset in a file.

The monotonic clock is left alone, as it is when somebody sets the time. Without the library
(Debian: libfaketime) no clock jumps.
"""

from __future__ import annotations

from pathlib import Path

DAY_S = 86400
LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


class Clock:
    """One run's; `prefix` comes before the command whose clock it is."""

    def __init__(self, folder: Path, *, jumps: bool) -> None:
        self._file = folder / "clock"
        self.jumps = jumps and LIBRARY is not None
        told = {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": self._file,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            "FAKETIME_DISABLE_SHM": 1,  # named by pid, and each PID namespace has a 1
        }
        self._offsets_s: list[int] = []  # that there have been
        self.prefix = [f"{name}={value}" for name, value in told.items()] if self.jumps else []
        self.set(0.0)

    def set(self, days: float) -> None:
        """Be so many days ahead."""
        offset_s = int(days * DAY_S)
        self._offsets_s.append(offset_s)
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)

    def true_times(self, shown: list[float]) -> list[float]:
        """Work out when that was which this clock showed, one soon after the other."""
        true: list[float] = []
        for at in shown:
            possible = [at - offset_s for offset_s in self._offsets_s]
            before = true[-1] if true else at
            true.append(min(possible, key=lambda when: abs(when - before)))
        return true
