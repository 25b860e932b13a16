"""The command line's ends: help, version, and what is said when settings are refused.

A start that succeeds passes through here without a word and without an import beyond `sources`
and `starting`.
"""

from __future__ import annotations

import posix
import sys

from srvinit import __version__, setup, starting
from srvinit.errors import LACKS, KernelRefused, UsageError, words_of
from srvinit.settings.sources import Sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USAGE_STATUS = 2
REFUSED_STATUS = 1
OUT, ERR = 1, 2


def main(argv: list[str], mask: set[int], settled: Callable[[], None] = lambda: None) -> int:
    """Run srvinit with the arguments `argv`; return its exit status.

    All signals must be blocked; `mask` is what was blocked before. `settled` is called when the
    first workers run, to end what hastened the start, and again when there is nothing to do for
    seconds, to give back what that needed.
    """
    environ = environment()
    sources = Sources(argv, environ)
    if sources.asks_for == "help":
        from srvinit.helptext import help_text

        return say(OUT, help_text())
    if sources.asks_for == "version":
        return say(OUT, f"srvinit {__version__}\n")
    try:
        options = sources.load()
        run = setup.for_command(
            options, reload=sources.load, mask=mask, command=sources.command, environ=environ
        )
        run.settled = settled
        return starting.run(run)
    except UsageError as wrong:
        return refuse(USAGE_STATUS, wrong.faults)
    except KernelRefused as refused:
        return refuse(REFUSED_STATUS, [str(refused)])
    except LACKS as lack:  # of a start: the loop survives its own
        return refuse(REFUSED_STATUS, [f"cannot start: {words_of(lack)}"])


def refuse(status: int, faults: list[str]) -> int:
    """Say why nothing is started, here and where Kubernetes looks for it; return `status`."""
    from srvinit.report import termination

    say(ERR, "".join(f"srvinit: {fault}\n" for fault in faults))
    termination.write(status, faults, termination.path_from(posix.environ))
    return status


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
