"""What the user typed, by argparse; the command's own words are in its module."""

from __future__ import annotations

import argparse
import difflib
import importlib
import math

from srvinit import __version__, ctl
from srvinit.control import FailedError
from srvinit.settings.values import RefusedError, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE_STATUS = 2
INTERRUPTED_STATUS = 128 + 2  # as a shell says of what Ctrl-C has ended
HELP = """\
usage: srvinitctl COMMAND [--pid PID] [...]

Ask a running srvinit, and have it do something.

{commands}

`srvinitctl COMMAND --help` has the rest. srvinit is PID 1, as in a container, or the only one of
this PID namespace; else say --pid. Exit status: 0; 1 if the answer is no, if it failed, or nobody
could be asked; 2 on wrong usage.
"""


def run(words: list[str]) -> int:
    """Run the command that these words ask for; return its exit status."""
    name = words[0] if words else ""
    if name in {"-h", "--help", "help"}:
        rows = [f"  {name:10}{summary}" for name, (_, summary) in ctl.COMMANDS.items()]
        ctl.say(ctl.OUT, HELP.format(commands="\n".join(rows)))
        return 0
    if name == "--version":
        ctl.say(ctl.OUT, f"srvinitctl {__version__}\n")
        return 0
    if name not in ctl.COMMANDS:
        ctl.say(ctl.ERR, f"srvinitctl: {_no_command(name)}\n")
        return USAGE_STATUS
    command = importlib.import_module(ctl.COMMANDS[name][0])
    try:
        # What probes share one module asks for the name as well.
        status: int = command.main(words if name in ctl.PROBES else words[1:])
    except FailedError as failed:
        ctl.say(ctl.ERR, f"srvinitctl: {failed}\n")
        return ctl.REFUSED_STATUS
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    return status


def _no_command(name: str) -> str:
    known = ", ".join(ctl.COMMANDS)
    if not name:
        return f"which command? {known} (--help says what they do)"
    near = difflib.get_close_matches(name, ctl.COMMANDS, 1)
    return f"there is no command {name!r}: " + (f"{near[0]}?" if near else known)


class _Parser(argparse.ArgumentParser):
    """One line for a fault, as all of srvinit's have it."""

    def error(self, message: str) -> Any:
        """Say what is wrong, and where to read more; exit with 2."""
        self.exit(USAGE_STATUS, f"srvinitctl: {message} (see {self.prog} --help)\n")


def parser_of(name: str, *, is_about_one: bool = True) -> argparse.ArgumentParser:
    """Make the parser of a command; one that is about a running srvinit has --pid."""
    summary = ctl.COMMANDS[name][1]
    parser = _Parser(
        prog=f"srvinitctl {name}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        allow_abbrev=False,
    )
    if is_about_one:
        parser.add_argument("--pid", type=_pid, metavar="PID", help="srvinit's, as seen from here")
    return parser


def _pid(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no pid")


def seconds(text: str) -> float:
    """Read a duration as settings do: "90", "1.5s", "2m". Raises ArgumentTypeError."""
    try:
        return duration(text)
    except RefusedError:
        message = f"{text!r} is no duration: 90, 1500ms, 30s, 2m"
        raise argparse.ArgumentTypeError(message) from None


def add_wait(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --wait and --timeout."""
    parser.add_argument("--wait", action="store_true", help=what)
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", default=math.inf, help="wait no longer: 90, 30s, 2m"
    )
