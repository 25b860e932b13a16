"""Where settings come from: the command line over the environment over a TOML file.

Each setting is taken whole from the highest source that has it; a list is never mixed from two.
A value that another source overrides must still be a good one. Faults are collected from all the
sources and reported together, each with the name its source has for it.

argparse takes as long to import as CPython to start (15 ms), so the command line is taken apart by
hand here; what reads the environment and a file is imported where there is something to read.
"""

from __future__ import annotations

from srvinit.errors import UsageError
from srvinit.options import Options
from srvinit.settings.table import SETTINGS, Given, Setting
from srvinit.settings.values import BOOLEANS, boolean, path_or_none, plain, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

USAGE = "srvinit [options] -- COMMAND [ARG...]"
PREFIX = "SRVINIT_"  # of variables; looked for in any case


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
        environment = _from_environment(self._environ, faults)
        configs = [source.pop(CONFIG.name, None) for source in (arguments, environment)]
        config = configs[0] or configs[1]
        file = _from_file(config, faults, with_lines=with_lines) if config else {}
        given = file | environment | arguments
        for source in (file, environment):
            for name, value in source.items():
                if given[name] is not value:
                    SETTINGS[name].value_of(value, faults)
        return Options.from_given(given, faults, inherits_sockets="LISTEN_FDS" in self._environ)


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, Given]:
    if not any(name[:8].upper() == PREFIX for name in environ):
        return {}
    from srvinit.settings.variables import read_environment

    return read_environment(environ, faults)


def _from_file(config: Given, faults: list[str], *, with_lines: bool) -> dict[str, Given]:
    from srvinit.settings.file import read_file

    return read_file(config, faults, with_lines=with_lines)


# --- the command line --------------------------------------------------------------------------


def row_of(flag: str) -> Setting | None:
    """Find what a flag is for. By the rule that makes flags of names: a table would cost 50 us."""
    if not flag.startswith("-"):
        return None
    for row in EXTRA:
        if flag in {row.flag, row.short}:
            return row
    if not flag.startswith("--"):
        return next((row for row in SETTINGS.values() if row.short == flag), None)
    found = SETTINGS.get(flag[2:].replace("-", ".", 1).replace("-", "_"))
    return found if found and found.flag == flag else None


class Arguments:
    """The command line, taken apart: options up to `--` or the first other word, then COMMAND."""

    def __init__(self, argv: list[str]) -> None:
        self.given: dict[str, Given] = {}
        self.faults: list[str] = []
        self.asks_for = ""
        self._left = list(argv)
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
        row = row_of(flag)
        positive = row_of("--" + flag[len("--no-") :]) if flag.startswith("--no-") else None
        if row is None and positive and positive.name in SETTINGS:
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
        return row_of(self._left[0]) is None

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
        from srvinit.settings.spelling import guess

        hint = guess(flag, lambda row: row.flag, EXTRA)
        self.faults.append(f"{plain(flag)}: unknown option{hint}")
        # Whether the next word is its value cannot be known; the command is surely after a --.
        if value is None and "--" in self._left:
            while not self._left[0].startswith("-"):
                del self._left[0]
