"""Small immutable-by-habit value classes, without the import cost of `dataclasses`.

`dataclasses` takes 10 to 20 ms to import, as long as CPython itself needs to start, and would
stand on the way to the first worker's exec. A record is a class with annotations and nothing else:

    class Exited(Record):
        pid: int
        status: int = 0

It gets `__slots__`, a constructor (positional or by name), `repr` and equality. mypy sees the same
through `dataclass_transform`.

A forwarded signal makes four records, so their constructors are most of its way through srvinit.
A constructor that loops over its fields takes 5 us and one made for its class 0.5 us; but to make
one from text, as `dataclasses` and `namedtuple` do, takes 50 us or more. So the compiled code of a
template with as many fields is taken, and other names are put into it, at the first use.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, dataclass_transform
else:

    def dataclass_transform() -> Any:
        """Stand in for typing.dataclass_transform, which is for type checkers alone."""
        return lambda cls: cls


# --- constructors --------------------------------------------------------------------------------


def _set_0(self: Any) -> None:
    pass


def _set_1(self: Any, a: Any) -> None:
    self.a = a


def _set_2(self: Any, a: Any, b: Any) -> None:
    self.a = a
    self.b = b


def _set_3(self: Any, a: Any, b: Any, c: Any) -> None:
    self.a = a
    self.b = b
    self.c = c


def _set_4(self: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    self.a = a
    self.b = b
    self.c = c
    self.d = d


def _set_5(self: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> None:  # noqa: PLR0913, PLR0917
    self.a = a
    self.b = b
    self.c = c
    self.d = d
    self.e = e


_FUNCTION: Any = type(_set_0)
_TEMPLATES: tuple[CodeType, ...] = tuple(
    made.__code__ for made in (_set_0, _set_1, _set_2, _set_3, _set_4, _set_5)
)


def _set_any(self: Any, *values: Any, **named: Any) -> None:
    """Construct a record of more fields than there are templates: those are few and made once."""
    fields, kind = self.__fields__, type(self).__name__
    if len(values) > len(fields):
        raise TypeError(f"{kind} takes {len(fields)} values at most")
    given = dict(zip(fields, values, strict=False))
    if twice := given.keys() & named.keys():
        raise TypeError(f"{kind} got {', '.join(twice)} twice")
    given |= named
    if unknown := given.keys() - set(fields):
        raise TypeError(f"{kind} has no {', '.join(unknown)}")
    for field, value in (self.__field_defaults__ | given).items():
        setattr(self, field, value)
    if missing := [field for field in fields if not hasattr(self, field)]:
        raise TypeError(f"{kind} needs {', '.join(missing)}")


def _set_first(self: Any, *values: Any, **named: Any) -> None:
    """Construct the first record of a class: make the constructor of those that follow.

    Most classes have no record before the first worker's exec, and many never have one.
    """
    kind = type(self)
    fields = kind.__fields__
    kind.__init__ = _set_any
    if len(fields) < len(_TEMPLATES):
        code = _TEMPLATES[len(fields)].replace(
            co_varnames=("self", *fields), co_names=fields, co_qualname=f"{kind.__name__}.__init__"
        )
        defaults = tuple(kind.__field_defaults__.values())
        kind.__init__ = _FUNCTION(code, {}, "__init__", defaults)
    kind.__init__(self, *values, **named)


# --- the class -----------------------------------------------------------------------------------


class _RecordType(type):
    """Turn annotations into slots, and values beside them into defaults."""

    __fields__: tuple[str, ...]
    __field_defaults__: dict[str, Any]

    def __new__(cls, name: str, bases: tuple[Any, ...], namespace: dict[str, Any]) -> _RecordType:
        own = fields = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        for base in bases:
            fields = base.__fields__ + fields
            defaults = base.__field_defaults__ | defaults
        if tuple(defaults) != fields[len(fields) - len(defaults) :]:
            raise TypeError(f"{name}: a field without a default follows one that has one")
        namespace["__slots__"] = own
        namespace["__fields__"] = fields
        namespace["__field_defaults__"] = defaults
        namespace["__init__"] = _set_first
        return type.__new__(cls, name, bases, namespace)


@dataclass_transform()
class Record(metaclass=_RecordType):
    """Base of every event, action and other small value."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in type(self).__fields__)
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, field) == getattr(other, field) for field in type(self).__fields__
        )

    __hash__ = None  # type: ignore[assignment]
