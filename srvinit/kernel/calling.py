"""Calling a Python function in a worker: its environment, and the status of how it ends.

Imported before the fork. What a command's process gets from CPython's own end is done here by
hand: a child must never return into its parent's stack.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run(call: Callable[[], object], environ: dict[bytes, bytes]) -> int:
    """Call the user's function; return the exit status that CPython would end with.

    The sockets stay where they are: at 3 and up may be files of modules that were loaded before.
    """
    os.environb.clear()
    os.environb.update(environ)
    try:
        call()
        _wait_for_threads()
        status = 0
    except SystemExit as leaving:
        status = _status_of(leaving.code)
    except KeyboardInterrupt:
        status = 130  # what a shell makes of SIGINT; its traceback tells nobody anything
    except BaseException:  # noqa: BLE001  nothing may return into the parent's stack
        sys.excepthook(*sys.exc_info())
        status = 1
    flush()
    return status


def _status_of(code: object) -> int:
    """Turn the argument of sys.exit into a status as CPython does: a text is for people."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    if sys.stderr is not None:
        sys.stderr.write(f"{code}\n")
    return 1


def _wait_for_threads() -> None:
    """Wait for the threads that the function left behind, as the end of a Python program does.

    Not the functions of atexit: most were registered by the parent and are its own.
    """
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()  # noqa: SLF001  multiprocessing ends its children so, too


def flush() -> None:
    """Write out what Python buffers for stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):  # no reader, no space; closed
                continue
