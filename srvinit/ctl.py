"""srvinitctl: ask a running srvinit, and have it do something.

What it knows it reads from the status that srvinit publishes (docs/status.md), what it changes it
asks for by a signal: there is nothing else to talk to. `ready` and `live` stand here and import
nothing: a probe runs them every few seconds for years. Every other command is a module of
`srvinit.control`, imported when it is asked for.

Exit status: 0; 1 if the answer is no, if it failed, or nobody could be asked; 2 on wrong usage.
"""

from __future__ import annotations

import posix
import sys

from srvinit.report import reading
from srvinit.report.reading import NoStatusError, UnpublishedError

# name -> (module with `main(arguments) -> exit status`, what --help says of it).
COMMANDS = {
    "status": ("srvinit.control.status", "show what runs, as a table or as JSON"),
    "ready": ("srvinit.control.probe", "tell whether traffic should come here: 0, or 1"),
    "live": ("srvinit.control.probe", "tell whether srvinit runs: 0, or 1"),
    "recycle": ("srvinit.control.recycle", "replace every worker, one at a time"),
    "scale": ("srvinit.control.scale", "have another number of workers"),
    "stop": ("srvinit.control.stop", "shut down gracefully"),
    "check": ("srvinit.checking", "show what settings mean, and what of it will hurt"),
    "install": ("srvinit.control.install", "copy the frozen srvinit into a folder"),
    "timeline": ("srvinit.report.timeline.command", "draw a log as a picture"),
}
OUT, ERR = 1, 2
REFUSED_STATUS = 1
PROBES = ("ready", "live")


def main(argv: list[str] | None = None) -> int:
    """Run srvinitctl with these words; return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if len(words) == 1 and words[0] in PROBES:
            return probe(words[0])
        from srvinit.control import arguments

        return arguments.run(words)
    except NoStatusError as why:
        say(ERR, f"srvinitctl: {why}\n")
        return REFUSED_STATUS


def probe(what: str, pid: int | None = None) -> int:
    """Answer `ready` or `live`: one line on stdout, and the exit status."""
    try:
        pid = find(pid)
        line = reading.read_first_line(pid)
    except UnpublishedError as none:
        # It runs, and that is all that live asks; probes may begin before there is a status.
        say(OUT, f"{'live' if what == 'live' else 'not ready'}: {none}\n")
        return int(what != "live")
    is_so = reading.field(line, what) == "true"
    say(OUT, f"{'' if is_so else 'not '}{what}: {reading.field(line, 'why')}\n")
    return int(not is_so)


def find(pid: int | None = None) -> int:
    """Return the pid of srvinit: `pid` if that is one, else PID 1, else the only one there is.

    Raises NoStatusError: which processes were looked at, and whose they are.
    """
    if pid is not None:
        return _checked(pid)
    try:
        if reading.place(1):
            return 1
    except NoStatusError:  # it may be anybody's, on a machine that is no container
        pass
    from srvinit.control import finding

    return finding.search()


def _checked(pid: int) -> int:
    if not reading.place(pid):
        from srvinit.control import finding

        raise finding.nothing_published(pid)
    return pid


def say(fd: int, text: str) -> None:
    """Write a text; a reader that has gone is no fault. As cli.say, without that one's imports."""
    left = text.encode("utf-8", "backslashreplace")
    try:
        while left:
            left = left[posix.write(fd, left) :]
    except OSError:  # EPIPE, EBADF, ENOSPC: there is nobody else to tell
        pass


if __name__ == "__main__":
    sys.exit(main())
