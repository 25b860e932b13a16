"""`srvinitctl recycle [--wait [--timeout S]]`: every worker replaced by one of a new generation.

Waiting is about one recycle: the first that began after this command was started. Whatever was put
in place before (code, settings) is what its workers have. The signal is known to have been taken in
by its time: one that came before ours, and was told of after, would be another's. Requests during a
recycle make one more pass for all of them, so two that wait may wait for the same one.
"""

from __future__ import annotations

import math
import time

from srvinit import ctl, words
from srvinit.control import FailedError
from srvinit.control.arguments import add_wait, parser_of
from srvinit.control.target import Target, check_serving, signal_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(arguments: list[str]) -> int:
    """Ask for a recycle, and wait for its end if that is asked for."""
    parser = parser_of("recycle")
    add_wait(parser, "until every worker is of the new generation and counts as ready; 1 if not")
    options = parser.parse_args(arguments)
    target = Target(options.pid)
    before = target.read()
    check_serving(before)
    name = signal_for(before, "recycle")
    sent_at = time.monotonic()
    target.send(name)
    if not options.wait:
        ctl.say(ctl.OUT, f"asked srvinit (pid {target.pid}) for a recycle, with SIG{name}\n")
        return 0
    by = sent_at + options.timeout
    number = _number_of_ours(target, before, sent_at, by, name)
    ended = _wait_end(target, number, by, options.timeout)
    return _tell(ended)


def _number_of_ours(
    target: Target, status: dict[str, Any] | None, sent_at: float, by: float, name: str
) -> int:
    """Wait until the signal is taken in; return the number of the recycle that is to answer it."""
    while status is not None and (status["recycles"]["requested_monotonic"] or 0) < sent_at:
        check_serving(status)
        status = target.next(by)
    if status is None:
        raise FailedError(f"srvinit (pid {target.pid}) has not taken SIG{name} in: is it stopped?")
    number: int = status["recycles"]["asked"]
    return number


def _wait_end(target: Target, number: int, by: float, timeout_s: float) -> dict[str, Any]:
    """Return how the recycle of this number ended, or a later one that was there before we looked.

    A later one that finished has replaced every worker, too.
    """
    status: dict[str, Any] | None = target.read()
    last = status
    while status is not None:
        ended: list[dict[str, Any]] = status["recycles"]["ended"]
        over = [one for one in ended if one["pass"] >= number]
        if over:
            return over[0]
        check_serving(status)
        last, status = status, target.next(by)
    assert last is not None  # noqa: S101  the first look has no time limit
    raise FailedError(_too_late(last["recycles"], timeout_s))


def _too_late(recycles: dict[str, Any], timeout_s: float) -> str:
    after = f"not over after {words.duration(timeout_s)}" if timeout_s < math.inf else "not over"
    running = recycles["running"]
    if running is None:
        return f"the recycle is {after}, and goes on"
    text = (
        f"the recycle to generation {running['generation']} is {after}, and goes on: "
        f"{running['replaced']} of {words.counted(running['workers'], 'worker')} replaced"
    )
    if running["last_failure"]:
        text += f"; the last failure: {running['last_failure']}"
    return text


def _tell(ended: dict[str, Any]) -> int:
    """Say how it ended; return the exit status."""
    generation = ended["generation"]
    if ended["outcome"] == "abandoned":
        raise FailedError("srvinit was asked to stop before the recycle was over")
    if ended["outcome"] == "failed":
        status = ended["last_status"]
        shown = "there was no process" if status is None else f"status {status}"
        raise FailedError(
            f"the recycle to generation {generation} was given up, the old workers serve on; "
            f"the last failure: {ended['last_failure']} ({shown})"
        )
    replaced = words.counted(ended["replaced"], "worker")
    took = words.duration(ended["seconds"])
    ctl.say(ctl.OUT, f"recycled to generation {generation} in {took}: {replaced} replaced\n")
    if ended["rejected"]:
        raise FailedError(f"but with the old settings, the new were refused: {ended['rejected']}")
    return 0
