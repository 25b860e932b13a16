"""What /proc says about processes, and a way to wait for it.

Nothing here raises because a process is gone: processes end while one reads, and the answer is
then the empty one. Kernel facts: proc(5), pid_namespaces(7).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Found = TypeVar("Found")

#: Signals 32 and 33 in a mask: glibc's posix_spawn leaves them ignored, so whatever `make` starts
#: finds them so, and hands that on.
LIBRARY_SIGNALS = 0b11 << 31


def wait_until(question: Callable[[], Found], within: float, what: str) -> Found:
    """Ask until the answer is true, and return it: for /proc and ports, which wake nobody."""
    deadline = time.monotonic() + within
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within:g} s for {what}; the last answer: {answer!r}")
        time.sleep(0.005)


def all_pids() -> list[int]:
    """Return the pids of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def children(pid: int) -> list[int]:
    """Return the pids of the children of all threads, zombies included; none if it is gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    return [int(child) for thread in threads for child in read(thread / "children").split()]


def read(path: str | os.PathLike[str]) -> bytes:
    """Return a file's content, empty if it (its process) is gone or hidden."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def state(pid: int) -> str:
    """Return the state letter of proc(5), "Z" for a zombie, "X" for a process that is gone."""
    return read(f"/proc/{pid}/stat").decode().rpartition(") ")[2][:1] or "X"


def session(pid: int) -> int:
    """Return the session a process belongs to (the pid of its first process), or 0."""
    fields = read(f"/proc/{pid}/stat").decode().rpartition(") ")[2].split()
    return int(fields[3]) if fields else 0


def group(pid: int) -> int:
    """Return the process group a process belongs to (the pid of its leader), or 0."""
    fields = read(f"/proc/{pid}/stat").decode().rpartition(") ")[2].split()
    return int(fields[2]) if fields else 0


def status_field(pid: int, field: str) -> str:
    """Return a field of /proc/PID/status, such as "SigBlk" or "NSpid"; empty if it is gone."""
    for line in read(f"/proc/{pid}/status").decode().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def link(path: str | os.PathLike[str]) -> str:
    """Return where a link of /proc leads ("/usr/bin/python3.11", "pid:[4026531836]"), or ""."""
    try:
        return os.fspath(Path(path).readlink())
    except OSError:
        return ""
