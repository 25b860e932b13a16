"""What a setting is: a row of the table in `options`, its four spellings, and how it is read.

The spellings follow from the attribute by rule, so no row can break it: `recycle_timeout` is
`recycle.timeout`, `--recycle-timeout`, `SRVINIT_RECYCLE_TIMEOUT` and `[recycle] timeout =`.
Sources hand over `Given` values; every fault names the source, the value and what is accepted.
"""

from __future__ import annotations

from srvinit.record import Record
from srvinit.settings.meanings import DEFAULT_MEANINGS
from srvinit.settings.values import DURATION_READERS, RefusedError, boolean, plain, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from srvinit.settings.addresses import Bind

    T = TypeVar("T")
    E = TypeVar("E")

# The first part of a setting's name, and what the help calls those that share it.
GROUPS = {
    "worker": "Workers",
    "bind": "Sockets",
    "recycle": "Recycling (SIGHUP)",
    "restart": "Restarting after a crash",
    "shutdown": "Shutting down (SIGTERM, SIGINT)",
    "signal": "Signals",
    "log": "Log",
    "http": "Probes",
}

# Which values may contradict each other. Their defaults do not, so `consistency` is only asked
# where one of them is given.
JUDGED_TOGETHER = frozenset(
    (
        "http",
        "recycle.max_surge",
        "recycle.max_unavailable",
        "shutdown.delay",
        "shutdown.grace_period",
        "shutdown.margin",
        "shutdown.timeout",
        "worker.require",
        "worker.watchdog",
    )
)

SETTINGS: dict[str, Setting] = {}  # by name, in the order of the table; filled by its rows


class Given(Record):
    """One value as a source holds it, and how that source calls it."""

    value: object
    source: str  # "--recycle-timeout", "SRVINIT_RECYCLE_TIMEOUT", "srvinit.toml:3: recycle.timeout"


class Setting:
    """One row of the table. The attribute it stands under gives its name."""

    __slots__ = (
        "aka",  # a name other programs have for it, to guess what a typo meant
        "attribute",  # recycle_timeout
        "default",  # as a user would write it
        "default_text",  # as people read it, where there is no writing it
        "gather",  # puts the entries of a repeatable setting together
        "is_secret",  # its value is never shown
        "meaning",  # the help shows it up to the first ";"
        "metavar",
        "name",  # recycle.timeout
        "read",  # of one entry, if it is repeatable
        "separator",  # between entries in an environment variable
        "short",  # -w
    )

    def __init__(self, read: Callable[[object], Any], default: object, meaning: str) -> None:
        self.read, self.default, self.meaning = read, default, meaning
        self.gather: Callable[[list[Any]], Any] | None = None
        self.is_secret = False
        self.attribute = self.name = self.aka = self.short = ""
        self.metavar = "TIME" if read in DURATION_READERS else "N"
        self.default_text = str(default) if default else "none"
        self.separator = ","

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        self.name = attribute.replace("_", ".", 1)
        SETTINGS[self.name] = self

    @property
    def group(self) -> str:
        """The first part of the name: the table of a TOML file."""
        return self.name.partition(".")[0]

    @property
    def flag(self) -> str:
        """The spelling on the command line."""
        return "--" + self.attribute.replace("_", "-")

    @property
    def variable(self) -> str:
        """The spelling in the environment."""
        return "SRVINIT_" + self.attribute.upper()

    @property
    def is_boolean(self) -> bool:
        """Hold if the flag takes no value."""
        return self.read is boolean

    def default_value(self) -> Any:
        """Return the value where none is given. A good one: a test reads them all."""
        return self.gather([]) if self.gather else self.read(self.default)

    def value_of(self, given: Given, faults: list[str]) -> Any:
        """Return the value; add a line to `faults` for each part of it that is not accepted."""
        value = given.value
        if not self.gather:
            return self._one(value, given, faults)
        before = len(faults)
        entries = [self._one(entry, given, faults) for entry in _entries(value)]
        try:
            return self.gather(entries) if len(faults) == before else None
        except RefusedError as refused:
            faults.append(f"{given.source}: {refused}")
            return None

    def _one(self, value: object, given: Given, faults: list[str]) -> Any:
        try:
            return self.read(value)
        except RefusedError as refused:
            what = "(not shown)" if self.is_secret else shown(value)
            hint = ""
            if isinstance(value, str) and "e+" in value and not self.is_secret:
                hint = " (a template turned a big number into this: quote it there)"
            faults.append(f"{given.source} {what}: {refused}{hint}")
            return None


def _entries(value: object) -> list[object]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return list(value.items()) if isinstance(value, dict) else [value]


def setting(read: Callable[[object], T], default: object, meaning: str, **details: object) -> T:
    """Declare a setting. To a type checker it is the value that an Options will hold."""
    row = Setting(read, default, meaning)
    for detail, value in details.items():
        setattr(row, detail, value)
    return row  # type: ignore[return-value]  # Options.__init__ puts the value in its place


def repeatable(
    read: Callable[[object], E],
    gather: Callable[[list[E]], T],
    meaning: str,
    **details: object,
) -> T:
    """Declare a setting that may be given several times; `gather` makes one value of the list."""
    return setting(read, (), meaning, gather=gather, **details)  # type: ignore[return-value]


# --- what makes one value of the entries of a repeatable setting ---------------------------------


def distinct_binds(entries: list[Bind]) -> tuple[Bind, ...]:
    """Return the addresses in their order; none may be bound twice."""
    places: list[object] = []
    for bind in entries:
        is_any_port = bind.kind in {"tcp", "udp"} and not bind.port
        if bind.place in places and not is_any_port:
            raise RefusedError(f"{plain(bind.text)} is given twice")
        places.append(bind.place)
    return tuple(entries)


def distinct_names(entries: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the pairs in their order; no name may stand twice."""
    names = [name for name, _ in entries]
    for name in names:
        if names.count(name) > 1:
            raise RefusedError(f"{plain(name)} is given twice")
    return tuple(entries)


def meanings_by_signal(entries: list[tuple[str, str]]) -> dict[str, str]:
    """Return what each signal means: the defaults, and `entries` over them."""
    return DEFAULT_MEANINGS | dict(distinct_names(entries))


def distinct_paths(entries: list[str]) -> tuple[str, ...]:
    """Return the paths in their order; none may stand twice."""
    for path in entries:
        if entries.count(path) > 1:
            raise RefusedError(f"{plain(path)} is given twice")
    return tuple(entries)
