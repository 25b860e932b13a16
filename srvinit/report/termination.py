"""The termination message: why the container ended, where Kubernetes looks for it.

The kubelet mounts a file into the container and copies what it holds into the pod's status, so that
`kubectl describe pod` shows it. srvinit never makes that file: where it is not there, nobody reads
it. It is written in place, for it is a mount of its own and cannot be replaced by a rename.
"""

from __future__ import annotations

import posix
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from srvinit.report.log import Log

# Kubernetes' default for terminationMessagePath. A pod with another one tells it to srvinit in
# TERMINATION_MESSAGE_PATH, since no container can ask.
PATH = "/dev/termination-log"

# What the kubelet takes over from one container.
MESSAGE_BYTES = 4096

# In characters of up to four bytes: even a sentence full of faults leaves the file not empty.
LONGEST_SENTENCE = 1000


def path_from(environ: Mapping[bytes, bytes]) -> bytes | str:
    """Name the file of this container."""
    return environ.get(b"TERMINATION_MESSAGE_PATH") or PATH


def end(log: Log, status: int, path: bytes | str) -> None:
    """Close the log, and write what it said last. Raises what Log.start does."""
    log.close()
    if status:
        write(status, log.last, path)


def write(status: int, sentences: Sequence[str], path: bytes | str = PATH) -> bool:
    """Write the last of `sentences` as text if srvinit exits with other than 0; tell whether.

    Never raises: a message that cannot be written is no reason to change how srvinit ends.
    """
    if not status:
        return False
    try:
        # O_NONBLOCK for a FIFO that somebody put there: srvinit must not wait for its reader.
        fd = posix.open(path, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError:
        return False  # not there, not ours, or a FIFO without a reader
    try:
        if not stat.S_ISREG(posix.fstat(fd).st_mode):
            return False
        posix.ftruncate(fd, 0)
        return posix.write(fd, message(sentences)) > 0
    except OSError:
        return False  # a full or read-only disk
    finally:
        posix.close(fd)


def message(sentences: Sequence[str]) -> bytes:
    """Put as many of the last sentences as fit into MESSAGE_BYTES, one a line, in their order."""
    lines: list[bytes] = []
    room = MESSAGE_BYTES
    for sentence in reversed(sentences):
        line = _one_line(sentence)
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    return b"".join(reversed(lines))


def _one_line(sentence: str) -> bytes:
    shown = "".join(char if char.isprintable() else "?" for char in sentence[:LONGEST_SENTENCE])
    return shown.encode() + b"\n"
