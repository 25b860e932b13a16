"""Numbers of the kernel and of the clock, said in words: for log lines, faults and reasons.

The bottom of the house: every room may import it, it imports nothing of srvinit. It never decides
anything: code compares numbers, people read these words.

What it rests on: a raw wait status (wait(2)) holds in its low seven bits the signal that ended the
process, or 0; bit 0x80 says that a core was dumped; an exit code stands in bits 8 to 15. Low bits
0x7f mean stopped and the value 0xffff continued: neither is an end.
"""

from __future__ import annotations

import _signal

_SIGNAL_BITS = 0x7F
_CORE_BIT = 0x80
_HIGHEST_ENDING = 0xFF00

# Other names of the same number, and the bounds of a range: none is what a person calls the signal.
_ALIASES = frozenset({"SIGCLD", "SIGIOT", "SIGPOLL", "SIGRTMAX"})
_NAMES = {
    getattr(_signal, name): name
    for name in dir(_signal)
    if name.startswith("SIG") and not name.startswith("SIG_") and name not in _ALIASES
}

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_UNITS = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))

# From here on a duration is said in two units, whole: "90 s" is read at a glance, "150 s" is not.
_TWO_UNITS_FROM = 2 * _MINUTE


def signal_name(number: int) -> str:
    """Name a signal as signal(7) does: "SIGTERM", "SIGRTMIN+3"; "signal 32" if it has no name."""
    if number in _NAMES:
        return _NAMES[number]
    if _signal.SIGRTMIN < number <= _signal.SIGRTMAX:
        return f"SIGRTMIN+{number - _signal.SIGRTMIN}"
    return f"signal {number}"


def exit_code(status: int) -> int:
    """Tell an exit code from a signal's number: 0 to 255, or minus the signal.

    `status` is the raw value of waitpid(2) for a process that has ended.
    """
    number = status & _SIGNAL_BITS
    return -number if number else status >> 8 & 0xFF


def wait_status_reason(status: int) -> str:
    """Say in words how a process ended.

    `status` is the raw value of waitpid(2), not an exit code. "exit 3", or "SIGKILL" with
    "(core dumped)" where the kernel says so. Raises ValueError on a stopped process: wait(2),
    WIFSTOPPED.
    """
    number = status & _SIGNAL_BITS
    if not 0 <= status <= _HIGHEST_ENDING | _CORE_BIT | _SIGNAL_BITS or number == _SIGNAL_BITS:
        raise ValueError(f"wait status {status:#x} is not the end of a process")
    if number == 0:
        return f"exit {status >> 8}"
    return signal_name(number) + (" (core dumped)" if status & _CORE_BIT else "")


def duration(seconds: float) -> str:
    """Say how long something lasts: "0 s", "250 ms", "1.5 s", "15 s", "2 min 30 s", "3 h".

    Rounded to what a person can use: milliseconds below a second, tenths below two minutes, then
    the two largest units. Negative durations, which come from clocks read in the wrong order, and
    endless ones are refused with ValueError: both would be a lie in a log.
    """
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{seconds!r} seconds is no duration")
    if seconds == 0:
        return "0 s"
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:  # noqa: PLR2004  a second has as many
        return f"{milliseconds} ms" if milliseconds else "under 1 ms"
    tenths = round(seconds, 1)
    if tenths < _TWO_UNITS_FROM:
        return f"{tenths:g} s"
    return _two_units(round(seconds))


def _two_units(seconds: int) -> str:
    """Say two minutes or more in the largest unit they fill and the one below it."""
    place = next(place for place, (size, _) in enumerate(_UNITS) if seconds >= size)
    size, unit = _UNITS[place]
    count, rest = divmod(seconds, size)
    below_size, below_unit = _UNITS[place + 1]
    below = rest // below_size
    return f"{count} {unit} {below} {below_unit}" if below else f"{count} {unit}"


def size(count: int) -> str:
    """Say how much memory: "512 MiB", "1.5 GiB", "900 KiB", "12 bytes"."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{round(count / unit, 1):g} {name}"
    return f"{count} bytes"


def counted(number: int, noun: str) -> str:
    """Put a number and its noun together: "1 worker", "3 workers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
