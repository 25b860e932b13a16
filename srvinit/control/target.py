"""The srvinit that a command is about: read, sent a signal, waited for.

It is held by a pidfd (pidfd_open(2)) from the moment it is found: a signal can reach nobody else,
should the pid be given to another process meanwhile, and its end is known at once. Where the kernel
or a filter has no pidfds it is the pid alone.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time

from srvinit import ctl
from srvinit.control import FailedError
from srvinit.report import reading
from srvinit.report.reading import NoStatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How often the status is looked at while something is waited for: it tells nobody that it changed.
LOOK_S = 0.02
_NO_PIDFDS = {errno.ENOSYS, errno.EPERM, errno.EINVAL}


class GoneError(NoStatusError):
    """srvinit has ended meanwhile."""


class Target:
    """One running srvinit. Raises NoStatusError if there is none, or not one."""

    def __init__(self, pid: int | None) -> None:
        self.pid = ctl.find(pid)
        self._pidfd = self._hold()
        if not reading.place(self.pid):  # whom we hold is still whom we found
            raise self._gone()

    def _hold(self) -> int | None:
        try:
            return os.pidfd_open(self.pid)
        except ProcessLookupError:
            raise self._gone() from None
        except OSError as error:
            if error.errno in _NO_PIDFDS:
                return None
            raise

    def read(self) -> dict[str, Any]:
        """Return its status. Raises GoneError if it has ended."""
        try:
            found: dict[str, Any] = json.loads(reading.read(self.pid))
        except NoStatusError:
            if self.has_ended(0):
                raise self._gone() from None
            raise
        return found

    def send(self, name: str) -> None:
        """Send it a signal, named without SIG. Raises FailedError if that is not allowed."""
        number = _number(name)
        try:
            if self._pidfd is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            raise self._gone() from None
        except PermissionError:
            text = f"this user may not send SIG{name} to srvinit (pid {self.pid})"
            raise FailedError(text) from None

    def has_ended(self, within: float) -> bool:
        """Tell whether it has ended, waiting that many seconds for it."""
        if self._pidfd is None:
            time.sleep(within)
            return not os.path.exists(f"/proc/{self.pid}/exe")  # noqa: PTH110  a zombie has none
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def next(self, by: float) -> dict[str, Any] | None:
        """Return its status a moment later; None once the (monotonic) time `by` has come.

        Raises GoneError if it has ended.
        """
        left_s = by - time.monotonic()
        if left_s <= 0:
            return None
        if self.has_ended(min(LOOK_S, left_s)):
            raise self._gone()
        return self.read()

    def _gone(self) -> GoneError:
        return GoneError(f"srvinit (pid {self.pid}) has ended meanwhile")


def _number(name: str) -> int:
    if name.startswith("RTMIN+"):
        return signal.SIGRTMIN + int(name.removeprefix("RTMIN+"))
    return signal.Signals[f"SIG{name}"]


def signal_for(status: dict[str, Any], what: str) -> str:
    """Return the name of the signal that asks for this. Raises FailedError if none does."""
    name: str | None = status["signals"][what]
    if name is None:
        raise FailedError(f"srvinit's settings leave no signal that means {what}: see `signal`")
    return name


def check_serving(status: dict[str, Any]) -> None:
    """Raise FailedError if srvinit is on its way out: it starts nothing any more."""
    if status["phase"] != "serving":
        why = status["shutdown"]["why"]
        raise FailedError(f"srvinit (pid {status['pid']}) is {status['phase']} ({why})")
