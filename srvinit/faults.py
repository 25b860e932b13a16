"""Faults of srvinit itself: what is said of one, and how the workers are stopped after it."""

from __future__ import annotations

import time

from srvinit.errors import LACKS
from srvinit.kernel import reap, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from srvinit.options import Options
    from srvinit.watch import Watch


def fields_of(error: BaseException, following: str) -> dict[str, str]:
    """Return what the log says of a fault; `following` is what srvinit does next."""
    try:
        import traceback  # not before: it would be half a megabyte for nothing

        trace = "".join(traceback.format_exception(error))
    except LACKS:  # no file can be opened: the places alone, without the lines that stand there
        trace = "; ".join(_places(error))
    return {"error": repr(error), "traceback": trace, "next": following}


def _places(error: BaseException) -> Iterator[str]:
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        yield f"{code.co_filename}:{at.tb_lineno} in {code.co_name}"
        at = at.tb_next


def stop_workers(watch: Watch, options: Options) -> None:
    """Stop the workers without the core, in the time that a shutdown has, and reap them."""
    for name, seconds in (
        (options.worker_stop_signal, options.shutdown_timeout),
        ("KILL", options.shutdown_margin),
    ):
        for pid in watch.running:
            signals.send_group(pid, name)
        by = time.monotonic() + seconds
        while watch.running and (left_s := by - time.monotonic()) > 0:
            signals.wait(left_s)
            while (ended := reap.peek()) is not None:
                if ended.pid in watch.running:
                    watch.forget(ended.pid)
                reap.reap(ended.pid)
