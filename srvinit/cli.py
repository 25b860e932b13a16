"""The command line's ends: help, version, and what is said when settings are refused.

A start that succeeds passes through here without a word and without an import beyond `sources`
and `supervisor`.
"""

from __future__ import annotations

import posix
import sys

from srvinit import __version__, setup, supervisor
from srvinit.errors import KernelRefused, UsageError
from srvinit.options import GROUPS
from srvinit.settings.sources import EXTRA, USAGE, Sources
from srvinit.settings.table import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.settings.table import Setting

USAGE_STATUS = 2
REFUSED_STATUS = 1
OUT, ERR = 1, 2
FLAG_COLUMN = 34


def main(argv: list[str], mask: set[int]) -> int:
    """Run srvinit with the arguments `argv`; return its exit status.

    All signals must be blocked; `mask` is what was blocked before.
    """
    environ = environment()
    sources = Sources(argv, environ)
    if sources.asks_for == "help":
        return say(OUT, help_text())
    if sources.asks_for == "version":
        return say(OUT, f"srvinit {__version__}\n")
    try:
        options = sources.load()
        run = setup.for_command(
            options, reload=sources.load, mask=mask, command=sources.command, environ=environ
        )
        return supervisor.run(run)
    except UsageError as wrong:
        say(ERR, "".join(f"srvinit: {fault}\n" for fault in wrong.faults))
        return USAGE_STATUS
    except KernelRefused as refused:
        say(ERR, f"srvinit: {refused}\n")
        return REFUSED_STATUS


def environment() -> dict[str, str]:
    """Return the environment as text, as `os.environ` does; bytes that are none are surrogates."""
    coding = sys.getfilesystemencoding()
    return {
        name.decode(coding, "surrogateescape"): value.decode(coding, "surrogateescape")
        for name, value in posix.environ.items()
    }


def say(fd: int, text: str) -> int:
    """Write `text`; a reader that has gone away is no fault. Return 0, the status of good advice.

    Not print: sys.stderr is None where fd 2 is closed, and a flush that fails at the interpreter's
    exit changes the exit status to 120.
    """
    left = text.encode("utf-8", "backslashreplace")
    try:
        while left:
            left = left[posix.write(fd, left) :]
    except OSError:  # EPIPE, EBADF, ENOSPC: there is nobody else to tell
        pass
    return 0


def help_text() -> str:
    """Return what --help shows: one line a setting, by group. docs/settings.md has the rest."""
    lines = [
        f"usage: {USAGE}",
        "",
        "Open the sockets, run N workers of COMMAND, replace, recycle and stop them gracefully.",
        *(_help_line(row, "") for row in EXTRA),
    ]
    for group, title in GROUPS.items():
        rows = [row for row in SETTINGS.values() if row.group == group and not row.is_later]
        if rows:
            lines.append(f"{title}:")
            lines += [_help_line(row, _default(row)) for row in rows]
    lines += [
        "--recycle-timeout 15s is SRVINIT_RECYCLE_TIMEOUT=15s and, in the file, [recycle] timeout.",
        "TIME is 1500ms, 15s, 2m, 1h or seconds. In parentheses: the defaults.",
    ]
    return "\n".join(lines) + "\n"


def _help_line(row: Setting, default: str) -> str:
    flag = f"{row.short}, {row.flag}" if row.short else f"    {row.flag}"
    if row.is_boolean and row.name in SETTINGS:
        flag = f"    --[no-]{row.flag[2:]}"
    metavar = "" if row.is_boolean else f" {row.metavar}"
    summary = row.meaning.partition(";")[0].replace("`", "")
    return f"  {flag + metavar:<{FLAG_COLUMN}} {summary}{default}"


def _default(row: Setting) -> str:
    return f" ({row.default_text}{'; repeatable' if row.gather else ''})"
