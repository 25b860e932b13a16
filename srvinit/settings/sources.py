"""Where settings come from: the command line over the environment over a TOML file.

Each setting is taken whole from the highest source that has it; a list is never mixed from two.
A value that another source overrides must still be a good one. Faults are collected from all the
sources and reported together, each with the name its source has for it.

argparse takes as long to import as CPython to start (15 ms), tomllib 13 ms, so the command line is
taken apart by hand, and TOML is imported if there is a file.
"""

from __future__ import annotations

import posix

from srvinit.errors import UsageError
from srvinit.options import Options
from srvinit.settings.table import SETTINGS, Given, Setting, flatten, guess, nearest_setting
from srvinit.settings.values import BOOLEANS, RefusedError, boolean, path_or_none, plain, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE_KIND, REGULAR_FILE = 0o170000, 0o100000  # inode(7): S_IFMT, S_IFREG
LARGEST_FILE_BYTES = 65_536  # PID 1 reads it while nothing else is done
LINE_WORK_BYTES = 4 * LARGEST_FILE_BYTES  # parsed to find lines; beyond it they are left out
USAGE = "srvinit [options] -- COMMAND [ARG...]"

# Given to workers by srvinit itself; a srvinit that is somebody's worker finds them.
LEFT_ALONE = {"SRVINIT_WORKER", "SRVINIT_GENERATION"}


def _no_setting(name: str, short: str, metavar: str, meaning: str) -> Setting:
    row = Setting(path_or_none if metavar else boolean, None, meaning)
    row.name = row.attribute = name
    row.short, row.metavar = short, metavar
    return row


CONFIG = _no_setting("config", "-c", "FILE", "read settings from this TOML file")
HELP = _no_setting("help", "-h", "", "show this and exit")
VERSION = _no_setting("version", "-V", "", "show the version and exit")
EXTRA = (CONFIG, HELP, VERSION)


class Sources:
    """Everything settings are read from. The file is read anew by every `load`.

    `argv` is without the program's name. Strings may hold bytes that are no text, as surrogates.
    """

    def __init__(self, argv: list[str], environ: Mapping[str, str]) -> None:
        self._arguments = Arguments(argv)
        self._environ = environ
        self.command = self._arguments.command

    @property
    def asks_for(self) -> str:
        """What is asked for instead of a run: "help", "version" or nothing."""
        return self._arguments.asks_for

    def load(self) -> Options:
        """Read every source. Raises UsageError with the faults of all of them."""
        try:
            return self._load(with_lines=False)
        except UsageError:  # only a fault is worth the second pass that finds line numbers
            return self._load(with_lines=True)

    def _load(self, *, with_lines: bool) -> Options:
        faults = list(self._arguments.faults)
        arguments = dict(self._arguments.given)
        environment = read_environment(self._environ, faults)
        configs = [source.pop(CONFIG.name, None) for source in (arguments, environment)]
        config = configs[0] or configs[1]
        file = read_file(config, faults, with_lines=with_lines) if config else {}
        given = file | environment | arguments
        for source in (file, environment):
            for name, value in source.items():
                if given[name] is not value:
                    SETTINGS[name].value_of(value, faults)
        return Options.from_given(given, faults, inherits_sockets="LISTEN_FDS" in self._environ)


# --- the command line --------------------------------------------------------------------------


class Arguments:
    """The command line, taken apart: options up to `--` or the first other word, then COMMAND."""

    def __init__(self, argv: list[str]) -> None:
        self.given: dict[str, Given] = {}
        self.faults: list[str] = []
        self.asks_for = ""
        self._left = list(argv)
        self._by_flag = {row.flag: row for row in (*SETTINGS.values(), *EXTRA)}
        self._by_flag |= {row.short: row for row in self._by_flag.values() if row.short}
        self._take_options()
        self.command = self._left
        if not self.command:
            self.faults.append(f"no command: expected {USAGE}")
        elif not self.command[0]:
            self.faults.append(f"the command is empty: expected {USAGE}")

    def _take_options(self) -> None:
        while self._left:
            word = self._left[0]
            if word == "--":
                del self._left[0]
                return
            if not word.startswith("-") or word == "-":
                return
            del self._left[0]
            if word.startswith("--"):
                flag, equals, value = word.partition("=")
            else:
                flag, equals, value = word[:2], word[2:], word[2:]
            self._take(flag, value if equals else None)

    def _take(self, flag: str, value: str | None) -> None:
        row = self._by_flag.get(flag)
        positive = self._by_flag.get("--" + flag.removeprefix("--no-"))
        if row is None and flag.startswith("--no-") and positive and positive.name in SETTINGS:
            self._take_negation(flag, positive, value)
        elif row is None:
            self._refuse(flag, value)
        elif row in {HELP, VERSION}:
            self.asks_for = self.asks_for or row.name
        elif row.is_boolean:
            self._take_boolean(flag, row, value)
        elif value is not None or self._has_value_next():
            self._keep(flag, row, self._left.pop(0) if value is None else value)
        else:
            self.faults.append(f"{flag}: expected {row.metavar} after it")

    def _take_negation(self, flag: str, row: Setting, value: str | None) -> None:
        if not row.is_boolean:
            self.faults.append(f"{flag}: {row.flag} is no switch, it takes {row.metavar}")
        elif value is not None:
            self.faults.append(f"{flag} {shown(value)}: expected no value; use {row.flag}=...")
        else:
            self._keep(flag, row, "false")

    def _take_boolean(self, flag: str, row: Setting, value: str | None) -> None:
        # `true` and `false` are programs too: `--flag false` must not quietly run one.
        if value is None and self._left and self._left[0].lower() in BOOLEANS:
            word = self._left.pop(0)
            self.faults.append(
                f"{flag} {shown(word)}: expected {flag}={word}, or -- before COMMAND"
            )
        else:
            self._keep(flag, row, "true" if value is None else value)

    def _has_value_next(self) -> bool:
        """Hold if the next word can be a value: -1 can, to be refused with its own words."""
        if not self._left or self._left[0].startswith("--"):
            return False
        return self._left[0] not in self._by_flag

    def _keep(self, flag: str, row: Setting, value: str) -> None:
        before = self.given.get(row.name)
        if row.gather:
            entries = before.value if before else []
            self.given[row.name] = Given([*entries, value], row.flag)  # type: ignore[misc]
        elif before:
            first = f"{before.source} {shown(before.value)}"
            self.faults.append(f"{flag} {shown(value)}: given twice, first as {first}")
        else:
            self.given[row.name] = Given(value, flag)

    def _refuse(self, flag: str, value: str | None) -> None:
        hint = guess(flag, lambda row: row.flag, EXTRA)
        self.faults.append(f"{plain(flag)}: unknown option{hint}")
        # Whether the next word is its value cannot be known; the command is surely after a --.
        if value is None and "--" in self._left:
            while not self._left[0].startswith("-"):
                del self._left[0]


# --- the environment ---------------------------------------------------------------------------


def read_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, Given]:
    """Return what SRVINIT_* variables set; names that look like typing errors go to `faults`."""
    rows = {row.variable: row for row in (*SETTINGS.values(), CONFIG)}
    given: dict[str, Given] = {}
    for name, text in environ.items():
        if name[:8].upper() != "SRVINIT_":
            continue
        row = rows.get(name)
        if row:
            given[row.name] = Given(_split(text, row) if row.gather else text, name)
        elif name not in LEFT_ALONE and not _is_from_kubernetes(name, text):
            near = _meant_variable(name)
            if near is not None:
                faults.append(f"{plain(name)}: unknown variable{near}")
    return given


def _split(text: str, row: Setting) -> list[str]:
    """Return the entries of a list; at least one, so that an empty variable is refused."""
    if row.separator == "\n":
        return [line for line in text.split("\n") if line] or [""]
    entries = [entry.strip() for entry in text.replace("\n", row.separator).split(row.separator)]
    while len(entries) > 1 and not entries[-1]:
        del entries[-1]  # a YAML block ends with a newline
    return entries


def _meant_variable(name: str) -> str | None:
    """Return what `name` was meant to be, as a hint; None if it is nobody's near relation.

    A name in a group's own namespace (SRVINIT_RECYCLE_...) is always taken for a typo.
    """
    stem = name[8:].upper()
    near = nearest_setting(
        stem, lambda row: row.attribute.upper(), (CONFIG,), max(1, len(stem) // 4)
    )
    if near:
        return f", did you mean {near.variable}?"
    groups = {row.group.upper() for row in SETTINGS.values()}
    return "" if stem.partition("_")[0].removesuffix("S") in groups else None


def _is_from_kubernetes(name: str, text: str) -> bool:
    """Hold for what a kubelet injects for each Service called srvinit or srvinit-something."""
    stem = name[len("SRVINIT") :]
    if stem.endswith(("_SERVICE_HOST", "_SERVICE_PORT")) or "_SERVICE_PORT_" in stem:
        return True
    if stem.endswith("_PORT") and "://" in text:  # tcp://10.0.0.1:80, and no bare port
        return True
    port, protocol, *rest = [*stem.rpartition("_PORT_")[2].split("_"), ""]
    return (
        "_PORT_" in stem
        and port.isdigit()
        and protocol in {"TCP", "UDP", "SCTP"}
        and rest in ([""], ["PROTO", ""], ["PORT", ""], ["ADDR", ""])
    )


# --- the file ----------------------------------------------------------------------------------


def read_file(config: Given, faults: list[str], *, with_lines: bool) -> dict[str, Given]:
    """Return what a TOML file sets. `config` is its path and who named it."""
    try:
        path = path_or_none(config.value)
        text = _text_of(path or "")
    except OSError as refused:
        faults.append(f"{config.source} {shown(config.value)}: cannot be read: {refused.strerror}")
        return {}
    except RefusedError as refused:
        faults.append(f"{config.source} {shown(config.value)}: {refused}")
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
    import tomllib

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
    import tomllib

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
