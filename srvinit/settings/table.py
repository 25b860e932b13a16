"""What a setting is: a row of the table in `options`, its four spellings, and how it is read.

The spellings follow from the attribute by rule, so no row can break it: `recycle_timeout` is
`recycle.timeout`, `--recycle-timeout`, `SRVINIT_RECYCLE_TIMEOUT` and `[recycle] timeout =`.
Sources hand over `Given` values; every fault names the source, the value and what is accepted.
"""

from __future__ import annotations

from srvinit.record import Record
from srvinit.settings.meanings import DEFAULT_MEANINGS
from srvinit.settings.values import DURATION_READERS, RefusedError, boolean, nearest, plain, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from srvinit.settings.addresses import Bind

    T = TypeVar("T")
    E = TypeVar("E")

SETTINGS: dict[str, Setting] = {}  # by name, in the order of the table; filled by its rows
BIND_LIST = "bind.address"  # in a file with a [bind] table, where `bind = [...]` cannot stand too


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
        "is_later",  # the row is here, its engine is not
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
        self.is_later = self.is_secret = False
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

    def value_of(self, given: Given | None, faults: list[str]) -> Any:
        """Return the value; add a line to `faults` for each part of it that is not accepted."""
        value = given.value if given else self.default
        if not self.gather:
            return self._one(value, given, faults)
        before = len(faults)
        entries = [self._one(entry, given, faults) for entry in _entries(value)]
        try:
            return self.gather(entries) if len(faults) == before else None
        except RefusedError as refused:
            faults.append(f"{given.source if given else self.name}: {refused}")
            return None

    def _one(self, value: object, given: Given | None, faults: list[str]) -> Any:
        try:
            return self.read(value)
        except RefusedError as refused:
            what = "(not shown)" if self.is_secret else shown(value)
            hint = ""
            if isinstance(value, str) and "e+" in value and not self.is_secret:
                hint = " (a template turned a big number into this: quote it there)"
            faults.append(f"{given.source if given else self.name} {what}: {refused}{hint}")
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


def nothing(_entries: list[None]) -> tuple[str, ...]:
    """Return no entries: their engine is not built, and no value but none was accepted."""
    return ()


# --- tables: a TOML file's, or a caller's nested dict -------------------------------------------


def flatten(
    table: Mapping[str, object], where: Callable[[str], str], faults: list[str]
) -> dict[str, Given]:
    """Return the values of nested tables by their settings' names.

    `where` says how a fault calls a dotted key. Unknown keys are added to `faults`.
    """
    groups = {setting.group for setting in SETTINGS.values() if setting.group != setting.name}
    given: dict[str, Given] = {}
    for key, value in table.items():
        if key in groups and isinstance(value, dict):
            dotted = {f"{key}.{name}": inner for name, inner in value.items()}
        elif key in groups and key not in SETTINGS:
            faults.append(f"{where(key)} {shown(value)}: expected a table of settings")
            continue
        else:
            dotted = {str(key): value}
        for name, inner in dotted.items():
            setting = "bind" if name == BIND_LIST else name
            if setting in SETTINGS:
                given[setting] = Given(inner, where(name))
            else:
                faults.append(f"{where(name)}: unknown setting{guess(name)}")
    return given


def guess(
    name: str,
    spell: Callable[[Setting], str] = lambda row: row.name,
    extra: Iterable[Setting] = (),
) -> str:
    """Return the end of a fault about an unknown name: what it was probably meant to be."""
    near = nearest_setting(name, spell, extra)
    return f", did you mean {spell(near)}?" if near else ""


def nearest_setting(
    name: str,
    spell: Callable[[Setting], str],
    extra: Iterable[Setting] = (),
    furthest: int | None = None,
) -> Setting | None:
    """Return the setting whose spelling is nearest to `name`, if one is near.

    Without one, the last part of a setting's name will do if it is one setting's alone: "margin".
    `furthest` is that of `nearest`; `extra` are rows that are no settings.
    """
    rows = [*SETTINGS.values(), *extra]
    by_spelling = {spell(row): row for row in rows}
    found = nearest(name, by_spelling, furthest)
    if found:
        return by_spelling[found]
    bare = name.lstrip("-").lower().replace("-", "_")
    alike = [row for row in rows if bare and bare in {row.aka, row.name.partition(".")[2]}]
    return alike[0] if len(alike) == 1 else None
