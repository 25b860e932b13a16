"""The three kinds of error, by whose they are: the user's, the kernel's, ours.

Nothing else is raised on purpose anywhere in srvinit. None of them is caught where it is raised:
`cli` turns the first two into one line a fault and an exit status, the supervisor answers the
third by stopping the workers in order.
"""

from __future__ import annotations


class UsageError(Exception):
    """The user asked for something that cannot be: all faults at once, one line each; exit 2."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class KernelRefused(Exception):  # noqa: N818  a fact about a call, named as the design names it
    """A system call failed in a way its caller cannot make good; exit 1 at start.

    `call` is the call's name ("bind"), `what` the object ("127.0.0.1:80"), `number` its errno.
    """

    def __init__(self, call: str, what: str, number: int) -> None:
        import errno
        import posix

        self.call = call
        self.what = what
        self.number = number
        self.name = errno.errorcode.get(number, str(number))
        super().__init__(f"{call} {what}: {posix.strerror(number)} ({self.name})")


class LifecycleError(Exception):
    """The core was handed an event that cannot be: our own bug, never the user's."""


# What may lack now and be there later: EMFILE, ENOMEM, a module whose file cannot be read.
LACKS = (OSError, ImportError, MemoryError)


def words_of(refused: Exception) -> str:
    """Say what was refused or lacks; MemoryError has no words of its own."""
    return str(refused) or "out of memory"
