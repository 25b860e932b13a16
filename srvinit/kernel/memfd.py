"""Memory that others may read and nobody may change: what srvinit publishes its status with.

It owns the swap: whoever opens /proc/PID/fd/N gets the old content or the new one, whole, and what
they have opened stays as it is for as long as they read. It must never leave an unsealed one where
others look. What it rests on: seals are the file's own and cannot be taken off, F_SEAL_SEAL keeps
others from adding more (fcntl(2), File Sealing); dup2 closes and replaces in one step (dup(2));
memory that nobody has open any more is given back.
"""

from __future__ import annotations

import fcntl
import posix

from srvinit.errors import KernelRefused
from srvinit.kernel import descriptors

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def replace(fd: int, name: str, content: bytes) -> None:
    """Have descriptor `fd` lead to sealed memory with this content from now on.

    Raises KernelRefused (EMFILE, ENFILE, ENOMEM, ENOSPC; EPERM, ENOSYS of a filter), and leaves
    what was there before.
    """
    made = descriptors.open_memory(name)
    try:
        left = memoryview(content)
        while left:
            left = left[posix.write(made, left) :]
        fcntl.fcntl(made, fcntl.F_ADD_SEALS, _SEALS)
        posix.dup2(made, fd, False)  # noqa: FBT003  no worker inherits it
    except OSError as error:
        raise KernelRefused("write", name, error.errno or 0) from error
    finally:
        descriptors.close_all((made,))
