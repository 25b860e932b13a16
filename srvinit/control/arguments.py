"""What the user typed, by argparse; the command's own words are in its module."""

from __future__ import annotations

import argparse
import importlib
import math

from srvinit import __version__, ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

EPILOG = """\
Without --pid it is PID 1, as in a container, or the only srvinit of this PID namespace.
Exit status: 0; 1 if the answer is no, if it failed, or nobody could be asked; 2 on wrong usage.
"""


class _Parser(argparse.ArgumentParser):
    """One line for a fault, as all of srvinit's have it."""

    def error(self, message: str) -> Any:
        """Say what is wrong, and where to read more; exit with 2."""
        self.exit(2, f"srvinitctl: {message} (see {self.prog} --help)\n")


def run(words: Sequence[str]) -> int:
    """Run the command that these words ask for; return its exit status."""
    parser = _Parser(
        prog="srvinitctl",
        description="Ask a running srvinit, and have it do something.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"srvinitctl {__version__}")
    _add_pid(parser, None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in ctl.COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            allow_abbrev=False,
        )
        _add_pid(command, argparse.SUPPRESS)
        if name in words:
            importlib.import_module(module).add_arguments(command)
    options = parser.parse_args(words)
    status: int = importlib.import_module(ctl.COMMANDS[options.command][0]).run(options)
    return status


def _add_pid(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument(
        "--pid", type=_pid, metavar="PID", default=default, help="srvinit's, as seen from here"
    )


def _pid(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no pid")


def seconds(text: str) -> float:
    """Read a duration: "90", "1.5s", "2m". Raises ArgumentTypeError."""
    number, factor = text, 1.0
    for unit, size in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), size
            break
    try:
        found = float(number) * factor
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 90, 1500ms, 30s, 2m")
    return found


def add_wait(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --wait and --timeout."""
    parser.add_argument("--wait", action="store_true", help=what)
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", default=math.inf, help="wait no longer: 90, 30s, 2m"
    )
