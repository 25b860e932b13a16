"""Runs a function in a process of its own: for calls that change the process they are made in.

`forked(function)` gives back what the function returns (JSON), or fails with its traceback. The
process leads a session of its own, so that nothing it signals or stops is the tests'; whatever is
left of its process group is killed. `on_terminal(function)` gives it a controlling terminal too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import sys
import termios
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


#: Out of the way: below, only 0, 1 and 2 are open in the process when the function is called.
ANSWER_FD = 200


def forked(
    function: Callable[..., Any],
    *arguments: Any,
    within: float = 20,
    at_descriptor: int = ANSWER_FD,
) -> Any:
    """Call the function in a forked process; return what it returned."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        answer_fd = fcntl.fcntl(write_fd, fcntl.F_DUPFD_CLOEXEC, at_descriptor)
        os.closerange(3, at_descriptor)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
        _answer(answer_fd, function, arguments)
    os.close(write_fd)
    deadline = time.monotonic() + within
    told = b""
    try:
        while True:
            ready, _, _ = select.select([read_fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"waited {within:g} s for {function.__qualname__} in its own process"
            part = os.read(read_fd, 65536)
            told += part
            if told.endswith(b"\n") or not part:
                break
    finally:
        os.close(read_fd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert told, f"{function.__qualname__} ended its process without an answer"
    answer = json.loads(told)
    assert "failed" not in answer, answer["failed"]
    return answer["returned"]


def _answer(fd: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> NoReturn:
    """Call the function and write one line: what it returned, or how it failed."""
    try:
        answer = {"returned": function(*arguments)}
    except BaseException:  # noqa: BLE001  whatever it is, the test shall show it
        answer = {"failed": traceback.format_exc()}
    sys.stdout.flush()
    os.write(fd, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def on_terminal(function: Callable[..., Any], *arguments: Any, within: float = 20) -> Any:
    """Call the function in a process that leads a session with a controlling terminal.

    Its first argument is the master end: what is written there is typed, closing it hangs up.
    """

    def with_terminal() -> Any:
        master_fd, slave_fd = pty.openpty()
        os.set_inheritable(master_fd, False)  # noqa: FBT003  the call has no other form
        fcntl.ioctl(slave_fd, termios.TIOCSCTTY, 0)
        os.dup2(slave_fd, 0)
        os.close(slave_fd)
        return function(master_fd, *arguments)

    with_terminal.__qualname__ = function.__qualname__
    return forked(with_terminal, within=within)


def until(question: Callable[[], Any], what: str, within: float = 10) -> Any:
    """Ask until the answer is no longer None; fail after `within` seconds, saying for what."""
    deadline = time.monotonic() + within
    while (answer := question()) is None:
        assert time.monotonic() < deadline, f"waited {within:g} s for {what}"
        select.select([], [], [], 0.001)
    return answer
