"""`srvinitctl stop [--wait [--timeout S]]`: a graceful shutdown, as TERM asks for it."""

from __future__ import annotations

import math
import signal
import time

from srvinit import ctl, words
from srvinit.control import FailedError
from srvinit.control.arguments import add_wait, parser_of
from srvinit.control.target import Target, signal_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


# poll(2) takes no endless time in milliseconds.
LONGEST_LOOK_S = 60.0


class _SweptError(Exception):
    """srvinit's sweep has reached us: we run in its own namespace, and its workers are gone."""


def main(arguments: list[str]) -> int:
    """Ask srvinit to stop, and wait for its end if that is asked for."""
    parser = parser_of("stop")
    add_wait(parser, "until srvinit has ended; inside its container, until it ends us as well")
    options = parser.parse_args(arguments)
    target = Target(options.pid)
    status = target.read()
    signal.signal(signal.SIGTERM, _note_sweep)
    began = time.monotonic()
    try:
        if status["phase"] == "serving":
            name = signal_for(status, "shutdown")
            target.send(name)
            ctl.say(ctl.OUT, f"asked srvinit (pid {target.pid}) to stop, with SIG{name}\n")
        else:
            ctl.say(ctl.OUT, f"srvinit (pid {target.pid}) is {status['phase']} already\n")
        if options.wait:
            _wait(target, options.timeout)
            took = words.duration(time.monotonic() - began)
            ctl.say(ctl.OUT, f"srvinit (pid {target.pid}) has ended after {took}\n")
    except _SweptError:
        ctl.say(ctl.OUT, "the workers have ended, and srvinit ends\n")
    return 0


def _wait(target: Target, timeout_s: float) -> None:
    by = time.monotonic() + timeout_s
    while (left_s := by - time.monotonic()) > 0:
        if target.has_ended(min(left_s, LONGEST_LOOK_S)):
            return
    late = words.duration(timeout_s) if timeout_s < math.inf else ""
    raise FailedError(f"srvinit (pid {target.pid}) has not ended after {late}")


def _note_sweep(_number: int, _frame: FrameType | None) -> None:
    raise _SweptError
