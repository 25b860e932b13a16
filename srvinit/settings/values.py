"""How one value is written: durations, counts, portions, words.

Each reader takes what a source holds (text from argv and the environment, text or a number from
TOML and Python) and returns the value, or raises RefusedError with the words that say what is
accepted. No reader raises anything else, whatever it is given. Who asked, and where, is not known
here: `options` puts the source before the words.

Nothing but built-in C modules is imported: all of this runs before the first worker's exec.
"""

from __future__ import annotations

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from srvinit.settings.addresses import Bind

    T = TypeVar("T")

YEAR_S = 31_536_000  # the longest duration: longer is a typo, and timers must not overflow
MOST_WORKERS = 10_000  # above it lies `-w 8080`, a port in the wrong place
LONGEST_SHOWN = 80  # characters of a value that a fault repeats
UNITS = {"ms": 1 / 1000, "s": 1, "m": 60, "h": 3600}  # "ms" first: it ends as "s" does
DURATION = "a duration: 15s, 1500ms, 2m, 1h or a number of seconds, at most a year"


class RefusedError(ValueError):
    """A value is not accepted; the text says what is. `options` adds the source and the value."""


def shown(value: object) -> str:
    """Return `value` as a fault may repeat it: on one line, printable, not too long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def plain(text: str) -> str:
    """Return a name or path as a fault may repeat it: on one line, printable."""
    return text if text.isprintable() else repr(text)


def listed(words: Iterable[str]) -> str:
    """Join `words` as a sentence does: "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


# --- numbers ---------------------------------------------------------------------------------


def is_digits(text: str) -> bool:
    """Hold for 1 to 18 ASCII digits: str.isdigit alone takes "²", int() alone takes "1_0"."""
    return text.isascii() and text.isdigit() and len(text) <= 18  # noqa: PLR2004


def _seconds(text: str) -> float | None:
    unit = next((unit for unit in UNITS if text.endswith(unit)), "")
    number = text[: len(text) - len(unit)]
    before, _, after = number.partition(".")
    if not is_digits(before + after):
        return None
    # Dividing by 1000 rounds once, so that 100ms and 0.1s are the same float.
    return float(number) / 1000 if unit == "ms" else float(number) * UNITS.get(unit, 1)


def duration(value: object) -> float:
    """Read a duration in seconds, to the microsecond."""
    seconds: object = _seconds(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise RefusedError(f"expected {DURATION}")
    if not 0 <= seconds <= YEAR_S:  # nan compares false
        raise RefusedError(f"expected {DURATION}")
    return round(float(seconds), 6)


def some_duration(value: object) -> float:
    """Read a duration that must not be nothing."""
    seconds = duration(value)
    if not seconds:
        raise RefusedError(f"expected more than nothing: {DURATION}")
    return seconds


def duration_or_off(value: object) -> float:
    """Read a duration; "off" is 0."""
    if value == "off":
        return 0.0
    try:
        return duration(value)
    except RefusedError:
        raise RefusedError(f'expected "off" or {DURATION}') from None


def duration_or_none(value: object) -> float | None:
    """Read a duration; "none" is None."""
    return None if value is None or value == "none" else some_duration(value)


DURATION_READERS = (duration, some_duration, duration_or_off, duration_or_none)


def duration_text(seconds: float) -> str:
    """Write a duration as people do; `duration` reads the same value back."""
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    if seconds < 1 and round(seconds * 1000, 6) == int(seconds * 1000):
        return f"{int(seconds * 1000)}ms"
    return f"{seconds:.6f}".rstrip("0") + "s"


def whole(low: int, high: int) -> Callable[[object], int]:
    """Make the reader of a whole number from `low` to `high`."""

    def read(value: object) -> int:
        number: object = value
        if isinstance(value, str):
            number = int(value) if is_digits(value) else None
        elif isinstance(value, float):  # templates that write TOML turn 4 into 4.0
            number = int(value) if value.is_integer() else None
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise RefusedError(f"expected a whole number from {low} to {high}")
        return number

    return read


def whole_or_none(low: int, high: int) -> Callable[[object], int | None]:
    """Make the reader of a whole number from `low` to `high`; "none" is None."""
    read = whole(low, high)
    return lambda value: None if value is None or value == "none" else read(value)


def whole_or_off(high: int) -> Callable[[object], int]:
    """Make the reader of a whole number from 1 to `high`; "off" is 0."""
    number = whole(1, high)

    def read(value: object) -> int:
        try:
            return 0 if value == "off" else number(value)
        except RefusedError as refused:
            raise RefusedError(str(refused).replace("expected", 'expected "off" or', 1)) from None

    return read


class Count(Record):
    """How many workers: a number, or so many for each CPU and so many more."""

    factor: int
    offset: int

    @property
    def is_auto(self) -> bool:
        """Hold if the number depends on the machine."""
        return self.factor > 0

    def resolve(self, cpus: int) -> int:
        """Return the number of workers on `cpus` CPUs; never less than one."""
        return min(max(1, self.factor * cpus + self.offset), MOST_WORKERS)

    def __str__(self) -> str:
        if not self.factor:
            return str(self.offset)
        times = f"*{self.factor}" if self.factor > 1 else ""
        return f"auto{times}{self.offset:+d}" if self.offset else f"auto{times}"


def count(value: object) -> Count:
    """Read a number of workers: 4, auto, auto*2, auto+1, auto*2+1, auto-1."""
    try:
        if not isinstance(value, str) or not value.startswith("auto"):
            return Count(0, whole(1, MOST_WORKERS)(value))
        rest = value[len("auto") :]
        sign = "-" if "-" in rest else "+"
        times, signed, offset = rest.partition(sign)
        if times and not times.startswith("*"):
            raise RefusedError  # noqa: TRY301  the words are those below
        factor = whole(1, MOST_WORKERS)(times[1:]) if times else 1
        return Count(factor, int(sign + str(whole(1, MOST_WORKERS)(offset))) if signed else 0)
    except RefusedError:
        raise RefusedError(
            f"expected a whole number from 1 to {MOST_WORKERS}, auto, auto*2, auto+1 or auto*2+1"
        ) from None


class Portion(Record):
    """A number of workers, or a percentage of them."""

    amount: int
    is_percentage: bool = False

    def of(self, count: int, *, round_up: bool) -> int:
        """Return the number of workers this is of `count`."""
        if not self.is_percentage:
            return self.amount
        return (self.amount * count + (99 if round_up else 0)) // 100

    def __str__(self) -> str:
        return f"{self.amount}%" if self.is_percentage else str(self.amount)


def portion(value: object) -> Portion:
    """Read a number of workers or a percentage: 2, 25%."""
    try:
        if isinstance(value, str) and value.endswith("%"):
            return Portion(whole(0, 100)(value[:-1]), is_percentage=True)
        return Portion(whole(0, MOST_WORKERS)(value))
    except RefusedError:
        raise RefusedError(
            f"expected a whole number from 0 to {MOST_WORKERS} or a percentage from 0% to 100%"
        ) from None


class Size(Record):
    """An amount of memory: bytes, or a percentage of what the container may have."""

    amount: int
    is_percentage: bool = False

    def of(self, whole: int) -> int:
        """Return the bytes this is of `whole`."""
        return self.amount * whole // 100 if self.is_percentage else self.amount

    def __str__(self) -> str:
        return f"{self.amount}%" if self.is_percentage else str(self.amount)


# The longest first: "MB" ends as "B" does.
SIZES = {"KiB": 10, "MiB": 20, "GiB": 30, "Ki": 10, "Mi": 20, "Gi": 30}
SIZES_OF_TEN = {"kB": 3, "KB": 3, "MB": 6, "GB": 9, "k": 3, "K": 3, "M": 6, "G": 9}
LEAST_SIZE = 1 << 20  # less is a number whose unit was forgotten
MOST_SIZE = 1 << 50


def size_or_off(value: object) -> Size | None:
    """Read an amount of memory: 512MiB, 512Mi, 1.5GB, a number of bytes, 40%; "off" and 0 none."""
    try:
        if value == "off" or (value == 0 and not isinstance(value, bool)) or value == "0":
            return None
        if isinstance(value, str) and value.endswith("%"):
            return Size(whole(1, 100)(value[:-1]), is_percentage=True)
        amount = _bytes(value) if isinstance(value, str) else whole(LEAST_SIZE, MOST_SIZE)(value)
        return Size(whole(LEAST_SIZE, MOST_SIZE)(amount))
    except RefusedError:
        raise RefusedError(
            'expected "off", an amount of memory from 1MiB on (512MiB, 512Mi, 1.5GB, a number of '
            "bytes), or a percentage of the container's limit from 1% to 100%"
        ) from None


def _bytes(text: str) -> int:
    unit = next((unit for unit in (*SIZES, *SIZES_OF_TEN) if text.endswith(unit)), "")
    number = text[: len(text) - len(unit)]
    before, point, after = number.partition(".")
    if not is_digits(before + after) or (point and not unit):
        raise RefusedError
    times = 1 << SIZES[unit] if unit in SIZES else int("1" + "0" * SIZES_OF_TEN.get(unit, 0))
    return int(before + after) * times // int("1" + "0" * len(after))


# --- words -----------------------------------------------------------------------------------

TRUTHS = {"true": True, "yes": True, "on": True, "1": True}
LIES = {"false": False, "no": False, "off": False, "0": False}
BOOLEANS = TRUTHS | LIES


def boolean(value: object) -> bool:
    """Read true or false, yes or no, on or off, 1 or 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in BOOLEANS:
        return BOOLEANS[value.lower()]
    raise RefusedError("expected true or false")


def choice(*words: str) -> Callable[[object], str]:
    """Make the reader of one of `words`."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise RefusedError(f"expected {listed(words)}")

    return read


def path_or_none(value: object) -> str | None:
    """Read a path; None is none."""
    return None if value is None else path(value)


def path(value: object) -> str:
    """Read a path."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise RefusedError("expected a path")
    return value


def address(value: object) -> Bind:
    """Read an address to listen on; what does so is imported for who has one."""
    from srvinit.settings.addresses import bind_address

    return bind_address(value)


def endpoint_or_none(value: object) -> Bind | None:
    """Read an address that HTTP is spoken at; None is none."""
    if value is None or value == "none":
        return None
    from srvinit.settings.addresses import BIND, bind_address

    expected = ":PORT, HOST:PORT, [IPV6]:PORT or unix:PATH"
    try:
        bind = bind_address(value)
    except RefusedError as refused:
        raise RefusedError(str(refused).replace(BIND, expected)) from refused
    if bind.kind not in {"tcp", "unix"} or bind.name:
        raise RefusedError(f"expected {expected}")
    return bind


def pair(value: object) -> tuple[str, str]:
    """Read NAME=VALUE, or a table's entry. The words of its fault never repeat the value."""
    name: object
    text: object
    if isinstance(value, tuple):
        name, text = value
        if isinstance(text, int) and not isinstance(text, bool):
            text = str(text)
    else:
        name, equals, text = value.partition("=") if isinstance(value, str) else ("", "", "")
        name = name if equals else ""
    if not isinstance(name, str) or not isinstance(text, str) or not name:
        raise RefusedError("expected NAME=VALUE")
    if "=" in name or "\0" in name + text:
        raise RefusedError("expected NAME=VALUE without NUL bytes")
    return name, text
