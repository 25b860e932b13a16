"""What /proc tells of the processes' memory and CPU time, and of queues that overflow.

For the process that answers scrapes, never for PID 1: it reads a file for each process there is.
All formats from proc(5):

- stat: ticks of the CPU as user and system, then those of children that were waited for; the
  start in ticks since boot, which tells one process from a later one of the same pid; RSS in pages.
- smaps_rollup: "Pss: 194 kB", each page divided by how many processes share it. Needs the same
  user, and the kernel walks all of the process's page tables for it.
- net/netstat: pairs of lines "TcpExt: NAME …", "TcpExt: VALUE …", for the network namespace.

A process that ends meanwhile is left out.
"""

from __future__ import annotations

import posix

from srvinit.kernel.procfs import read_file
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TICKS_A_SECOND = posix.sysconf("SC_CLK_TCK")
PAGE_BYTES = posix.sysconf("SC_PAGESIZE")
NETSTAT_BYTES = 262_144  # two lines of some 150 counters each, and as many again of other kinds


class Process(Record):
    """One process's use. Times are ticks; those of children that were waited for are in them."""

    pid: int
    parent_pid: int
    pgid: int
    user_ticks: int
    system_ticks: int
    waited_user_ticks: int
    waited_system_ticks: int
    started_ticks: int  # since boot
    rss_bytes: int


class Usage(Record):
    """What a worker's processes use together; `started_ticks` are its leader's."""

    processes: int
    rss_bytes: int
    pss_bytes: int | None  # None: not asked for, or not to be had
    user_s: float
    system_s: float
    started_ticks: int


def parse_stat(text: bytes) -> Process:
    """Read /proc/PID/stat."""
    pid, _, rest = text.partition(b" (")
    fields = rest.rpartition(b") ")[2].split()
    user, system, waited_user, waited_system = (int(field) for field in fields[11:15])
    return Process(
        pid=int(pid),
        parent_pid=int(fields[1]),
        pgid=int(fields[2]),
        user_ticks=user + waited_user,
        system_ticks=system + waited_system,
        waited_user_ticks=waited_user,
        waited_system_ticks=waited_system,
        started_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
    )


def parse_netstat(text: bytes, names: Iterable[str]) -> dict[str, int]:
    """Pick counters of /proc/net/netstat by name; what this kernel does not count is left out."""
    found: dict[str, int] = {}
    lines = text.decode("ascii", "replace").splitlines()
    for heads, values in zip(lines[::2], lines[1::2], strict=False):
        row = dict(zip(heads.split()[1:], values.split()[1:], strict=False))
        found |= {name: int(row[name]) for name in names if name in row}
    return found


def parse_pss(text: bytes) -> int | None:
    """Read the bytes out of /proc/PID/smaps_rollup; None where they are not in it."""
    for line in text.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def netstat(names: Iterable[str]) -> dict[str, int]:
    """Read counters of our network namespace, by name; none where /proc has none."""
    try:
        return parse_netstat(read_file("/proc/self/net/netstat", NETSTAT_BYTES), names)
    except (OSError, ValueError):  # ENOENT: no /proc, or not Linux's own
        return {}


def pss_bytes(pid: int) -> int | None:
    """Ask for a process's proportional share of memory; None where it is not told."""
    try:
        return parse_pss(read_file(f"/proc/{pid}/smaps_rollup"))
    except OSError:  # ENOENT: an old kernel. EACCES: another user's. ESRCH: it has ended
        return None


def processes() -> dict[int, Process]:
    """Read every process that /proc shows, by pid."""
    found = {}
    try:
        names = posix.listdir("/proc")
    except OSError:  # ENOENT: no /proc
        return {}
    for name in names:
        if name.isdigit():
            try:
                found[int(name)] = parse_stat(read_file(f"/proc/{name}/stat", 4096))
            except (OSError, ValueError, IndexError):  # it has ended, or is hidden
                continue
    return found


def families(leaders: Iterable[int], living: Mapping[int, Process]) -> dict[int, list[Process]]:
    """Say which processes are whose: a leader, its descendants, and the rest of its group.

    A leader that is not among the living has no family.
    """
    found: dict[int, list[Process]] = {pid: [] for pid in leaders if pid in living}
    for process in living.values():
        leader = _leader_of(process, found, living)
        if leader is not None:
            found[leader].append(process)
    return found


def _leader_of(
    process: Process, leaders: Mapping[int, object], living: Mapping[int, Process]
) -> int | None:
    """Go from a process upwards to the leader it descends from, or whose group it is in."""
    seen: set[int] = set()
    climber: Process | None = process
    while climber is not None and climber.pid not in seen:  # the parents were read at other moments
        if climber.pid in leaders:
            return climber.pid
        if climber.pgid in leaders:
            return climber.pgid
        seen.add(climber.pid)
        climber = living.get(climber.parent_pid)
    return None


def usage_of(leader: int, family: Iterable[Process], pss: int | None = None) -> Usage:
    """Add up what a family uses."""
    members = list(family)
    return Usage(
        processes=len(members),
        rss_bytes=sum(member.rss_bytes for member in members),
        pss_bytes=pss,
        user_s=sum(member.user_ticks for member in members) / TICKS_A_SECOND,
        system_s=sum(member.system_ticks for member in members) / TICKS_A_SECOND,
        started_ticks=next((it.started_ticks for it in members if it.pid == leader), 0),
    )


def own_usage(process: Process) -> Usage:
    """Say what one process uses; not its children, though it has waited for them."""
    return Usage(
        processes=1,
        rss_bytes=process.rss_bytes,
        pss_bytes=None,
        user_s=(process.user_ticks - process.waited_user_ticks) / TICKS_A_SECOND,
        system_s=(process.system_ticks - process.waited_system_ticks) / TICKS_A_SECOND,
        started_ticks=process.started_ticks,
    )
