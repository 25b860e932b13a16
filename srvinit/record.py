"""Small immutable-by-habit value classes, without the import cost of `dataclasses`.

`dataclasses` takes 10 to 20 ms to import, as long as CPython itself needs to start, and would
stand on the way to the first worker's exec. A record is a class with annotations and nothing else:

    class Exited(Record):
        pid: int
        status: int = 0

It gets `__slots__`, a constructor (positional or by name), `repr` and equality. mypy sees the same
through `dataclass_transform`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, dataclass_transform
else:

    def dataclass_transform() -> Any:
        """Stand in for typing.dataclass_transform, which is for type checkers alone."""
        return lambda cls: cls


class _RecordType(type):
    """Turn annotations into slots, and values beside them into defaults."""

    __fields__: tuple[str, ...]
    __field_defaults__: dict[str, Any]

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _RecordType:
        own = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace.pop(field) for field in own if field in namespace}
        namespace["__slots__"] = own
        made = super().__new__(cls, name, bases, namespace)
        inherited = bases[0] if bases else None
        made.__fields__ = getattr(inherited, "__fields__", ()) + own
        made.__field_defaults__ = getattr(inherited, "__field_defaults__", {}) | defaults
        return made


@dataclass_transform()
class Record(metaclass=_RecordType):
    """Base of every event, action and other small value."""

    if not TYPE_CHECKING:

        def __init__(self, *values: Any, **named: Any) -> None:
            fields = self.__fields__
            if len(values) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {len(fields)} values at most")
            for field, value in zip(fields, values, strict=False):
                setattr(self, field, value)
            for field in fields[len(values) :]:
                if field in named:
                    value = named.pop(field)
                elif field in self.__field_defaults__:
                    value = self.__field_defaults__[field]
                else:
                    raise TypeError(f"{type(self).__name__} needs {field}")
                setattr(self, field, value)
            if named:
                raise TypeError(f"{type(self).__name__} has no {', '.join(named)}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in type(self).__fields__)
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, field) == getattr(other, field) for field in type(self).__fields__
        )

    __hash__ = None  # type: ignore[assignment]
