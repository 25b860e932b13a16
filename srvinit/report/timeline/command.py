"""`srvinitctl timeline [LOG...]`: read logs, write a page or a picture."""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from srvinit.report.timeline import clock, lines, page, story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from srvinit.report.timeline.lines import Event
    from srvinit.report.timeline.story import Pod

USAGE = """\
srvinitctl timeline [--svg] [-o FILE] [LOG...]

Draw what a log of srvinit tells: each slot a row, each worker a bar. LOG is a file, or - for the
standard input, which is the default. Lines of workers, and what `kubectl logs --prefix` or docker
compose put before a line, may be in it; several pods share one axis.

  -o FILE   write to FILE instead of the standard output; FILE.svg is a picture
  --svg     a picture (SVG) instead of a page (HTML)

  kubectl logs --prefix --tail=-1 -l app=web | srvinitctl timeline -o web.html
"""
OUT, ERR = 1, 2  # not sys.stdout: it is None where fd 1 is closed
USAGE_STATUS = 2
FAILED_STATUS = 1


class Refused(Exception):  # noqa: N818  a word of this house
    """What was asked for cannot be done; the text says why, and what to do."""


class Asked:
    """The command line, taken apart. Raises Refused."""

    def __init__(self, arguments: list[str]) -> None:
        self.logs: list[str] = []
        self.output = ""
        self.is_svg = False
        self.wants_help = False
        left = list(arguments)
        while left:
            word = left.pop(0)
            if word in {"-h", "--help"}:
                self.wants_help = True
            elif word == "--svg":
                self.is_svg = True
            elif word in {"-o", "--output"}:
                if not left:
                    raise Refused(f"{word}: expected FILE after it")
                self.output = left.pop(0)
            elif word.startswith("--output="):
                self.output = word.partition("=")[2]
            elif word == "--":
                self.logs += left
                break
            elif word.startswith("-") and word != "-":
                raise Refused(f"{word}: unknown option; expected --svg, -o FILE or LOG...")
            else:
                self.logs.append(word)
        self.is_svg = self.is_svg or self.output.endswith(".svg")
        self.logs = self.logs or ["-"]


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status: 2 for a wrong call, 1 where nothing was drawn."""
    try:
        asked = Asked(arguments)
    except Refused as wrong:
        return _complain(wrong, USAGE_STATUS)
    if asked.wants_help:
        return _write(OUT, USAGE)
    gc.disable()  # what a log is read into is kept until the end: looking for waste takes a fifth
    try:
        _refuse_terminals(asked)
        pods = pods_of(asked.logs)
        drawn = page.svg(pods) + "\n" if asked.is_svg else page.html(pods)
        if not asked.output:
            return _write(OUT, drawn)
        with open(asked.output, "w", encoding="utf-8") as file:  # noqa: PTH123  pathlib is not frozen
            file.write(drawn)
    except Refused as wrong:
        return _complain(wrong, FAILED_STATUS)
    except OSError as wrong:
        return _complain(f"{wrong.filename or 'output'}: {wrong.strerror}", FAILED_STATUS)
    return 0


def pods_of(logs: list[str]) -> list[Pod]:
    """Read the logs; return what became of each pod, in the order of their beginnings.

    Raises Refused where there is no event in them, OSError where one cannot be read.
    """
    events: dict[str, list[Event]] = {}
    count = 0
    names = _names(logs)
    for log in logs:
        name = names[log]
        with ExitStack() as stack:
            if log == "-":
                file = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            else:
                file = open(log, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115
            stack.enter_context(file)
            counted = _Counting(file)
            for pod, event in lines.read(counted, name):
                events.setdefault(pod, []).append(event)
            count += counted.count
    if not events:
        named = ", ".join(logs).replace("-", "the standard input") if logs == ["-"] else logs
        raise Refused(
            f"no line of srvinit's log among the {count} of {named}: expected JSON lines, as"
            " log.format=json has them"
        )
    pods = [story.tell(pod, found, clock.straighten(found)) for pod, found in events.items()]
    return sorted(pods, key=lambda pod: pod.begins_at)


def _names(logs: list[str]) -> dict[str, str]:
    """Name files by their last part, by their whole path where that is not enough."""
    short = {log: os.path.basename(log) for log in logs}  # noqa: PTH119  pathlib is not frozen
    parts = list(short.values())
    names = {log: part if parts.count(part) == 1 else log for log, part in short.items()}
    return names | {"-": ""}


class _Counting:
    """The lines of a file, counted; ended by line feeds alone, as logs are."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file = file
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.count += 1
            yield line


def _refuse_terminals(asked: Asked) -> None:
    if "-" in asked.logs and os.isatty(0):
        raise Refused("no LOG, and the standard input is a terminal: name a file, or pipe a log in")
    if not asked.output and os.isatty(OUT):
        raise Refused("a page is nothing for a terminal: write it to a file, as with -o web.html")


def _complain(what: object, status: int) -> int:
    _write(ERR, f"srvinitctl timeline: {what}\n")
    return status


def _write(fd: int, text: str) -> int:
    """Write all of `text`; a reader that has gone away is no fault. Return 0."""
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        while left:
            left = left[os.write(fd, left) :]
    except BrokenPipeError:
        pass
    return 0
