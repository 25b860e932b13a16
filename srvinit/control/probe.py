"""`srvinitctl ready --pid PID`; without an option `ctl` answers without an import."""

from __future__ import annotations

from srvinit import ctl
from srvinit.control.arguments import parser_of


def main(words: list[str]) -> int:
    """Answer; the first word is what is asked, `ready` or `live`."""
    what, *arguments = words
    return ctl.probe(what, parser_of(what).parse_args(arguments).pid)
