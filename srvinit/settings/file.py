"""Settings from a TOML file, and on which line each stands."""

from __future__ import annotations

import posix
import tomllib

from srvinit.settings.nested import flatten
from srvinit.settings.values import RefusedError, path_or_none, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from srvinit.settings.table import Given

FILE_KIND, REGULAR_FILE = 0o170000, 0o100000  # inode(7): S_IFMT, S_IFREG
LARGEST_FILE_BYTES = 65_536  # PID 1 reads it while nothing else is done
LINE_WORK_BYTES = 4 * LARGEST_FILE_BYTES  # parsed to find lines; beyond it they are left out


def read_file(config: Given, faults: list[str], *, with_lines: bool) -> dict[str, Given]:
    """Return what a TOML file sets. `config` is its path and who named it."""
    try:
        path = path_or_none(config.value)
        text = _text_of(path or "")
    except OSError as refused:  # which file it is, is at its path's end: it is named whole
        faults.append(f"{config.source} {config.value!r}: cannot be read: {refused.strerror}")
        return {}
    except RefusedError as refused:
        faults.append(f"{config.source} {config.value!r}: {refused}")
        return {}
    except UnicodeDecodeError as wrong:
        line = wrong.object[: wrong.start].count(b"\n") + 1
        faults.append(f"{plain(str(config.value))}:{line}: not UTF-8; expected TOML")
        return {}
    return parse_file(plain(str(config.value)), text, faults, with_lines=with_lines)


def parse_file(
    path: str, text: str, faults: list[str], *, with_lines: bool = True
) -> dict[str, Given]:
    """Return what the TOML `text` of the file `path` sets."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        why, _, place = str(wrong).rpartition(" (at ")
        line = place.removeprefix("line ").partition(",")[0]
        last = text.count("\n") + 1
        faults.append(f"{path}:{line if line.isdigit() else last}: {why}; expected TOML")
        return {}
    except RecursionError:  # brackets nested a thousand deep
        faults.append(f"{path}:1: nested too deeply; expected TOML")
        return {}
    lines = line_numbers(text) if with_lines else {}

    def where(key: str) -> str:
        line = lines.get(key) or lines.get(key.partition(".")[0])
        return f"{path}:{line}: {plain(key)}" if line else f"{path}: {plain(key)}"

    return flatten(table, where, faults)


def line_numbers(text: str) -> dict[str, int]:
    """Return the line on which each dotted key of a good TOML text is set.

    tomllib keeps no positions. A TOML text is a row of statements that end with a line, each of
    which is TOML by itself: so lines are gathered until they parse. A very long value costs the
    square of its lines, so the work is limited; keys after it are not in the answer.
    """
    found: dict[str, int] = {}
    table = statement = ""
    first = 1
    work = 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first if statement else number
        statement += line + "\n"
        work += len(statement)
        if work > LINE_WORK_BYTES:
            break
        try:
            keys = list(_dotted(tomllib.loads(statement)))
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = keys[-1] + "."
            found.setdefault(keys[-1], first)
        else:
            for key in keys:
                found.setdefault(table + key, first)
        statement = ""
    return found


def _dotted(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def _text_of(path: str) -> str:
    # A FIFO without a writer, or a device without an end, would hold PID 1 for ever.
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY)
    try:
        if posix.fstat(fd).st_mode & FILE_KIND != REGULAR_FILE:
            raise RefusedError("expected a regular file")
        content = b""
        while len(content) <= LARGEST_FILE_BYTES:
            part = posix.read(fd, LARGEST_FILE_BYTES)
            if not part:
                return content.decode("utf-8-sig")
            content += part
        raise RefusedError(f"expected a file of at most {LARGEST_FILE_BYTES} bytes")
    finally:
        posix.close(fd)
