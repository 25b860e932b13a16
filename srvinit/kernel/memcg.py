"""The memory cgroup: its limit, and how many processes the kernel has killed for lack of memory.

What it rests on (the kernel's cgroup-v2 and cgroup-v1/memory documents, mm/memcontrol.c):

- A process that is killed counts in its own cgroup, whichever ancestor's limit, or machine, had run
  out: `oom_kill` of memory.events (v2, with all cgroups below) or of memory.oom_control (v1, since
  4.13, its own processes alone). It counts before the signal is sent, so before the exit is seen.
- The count does not say who it was: it is worth a look only when a worker has died by a SIGKILL
  that srvinit did not send. Between two looks a worker's own children may have been killed, so
  somebody's `kill -9` of that worker later can be taken for the kernel's.
- memory.oom.group (v2, since 4.19) of a cgroup within the one that ran out has all its processes
  killed together; the kubelet sets it since 1.28. Nobody is left then to tell of it.
- No limit is "max" (v2), or 2**63 less a page (v1).

Parsing takes text, so that files recorded on other machines can be read in tests.
"""

from __future__ import annotations

from srvinit.kernel.cgroup import places, read_text
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.kernel.cgroup import Reader

_NO_LIMIT_FROM = 1 << 62
_LIMIT = {True: "memory.max", False: "memory.limit_in_bytes"}  # by: is it v2
_KILLS = {True: "memory.events", False: "memory.oom_control"}


class Limit(Record):
    """The most memory that the file at `path` allows, in bytes."""

    size: int
    path: str


class OomCounter:
    """Counts the kernel's kills for lack of memory from its making on."""

    def __init__(self, read: Reader = read_text) -> None:
        self._read = read
        self._path, self._seen = "", 0
        for is_v2, directories in places(read, "memory"):
            path = f"{directories[0]}/{_KILLS[is_v2]}"
            found = parse_kills(read(path) or "")
            if found is not None:
                self._path, self._seen = path, found
                return

    def has_risen(self) -> bool:
        """Say whether there were more kills since the last call. False where nobody counts them."""
        found = parse_kills(self._read(self._path) or "") if self._path else None
        before, self._seen = self._seen, self._seen if found is None else found
        return self._seen > before


def parse_kills(text: str) -> int | None:
    """Read oom_kill out of memory.events or memory.oom_control; None where it is not there."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return None


def tightest_limit(read: Reader = read_text) -> Limit | None:
    """Find the tightest limit from our own cgroup up to the top of what is mounted."""
    found = [
        Limit(int(text), path)
        for is_v2, directories in places(read, "memory")
        for path in (f"{directory}/{_LIMIT[is_v2]}" for directory in directories)
        if (text := (read(path) or "").strip()).isdigit() and int(text) < _NO_LIMIT_FROM
    ]
    return min(found, key=lambda limit: limit.size, default=None)


def shared_fate(read: Reader = read_text) -> str | None:
    """Return the memory.oom.group that has this whole container killed with one of its processes.

    None where there is none, and where the kernel kills one process alone.
    """
    for is_v2, directories in places(read, "memory"):
        for path in (f"{directory}/memory.oom.group" for directory in directories if is_v2):
            if (read(path) or "").strip() == "1":
                return path
    return None
