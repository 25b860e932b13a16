"""How many CPUs this container may use: `worker.count = auto`. And where our own cgroup is.

A quota limits time, not processors: "150000 100000" is one and a half CPUs on however many cores.
Any ancestor may set one and the tightest counts, but a container sees only those inside its mount
of the hierarchy (cgroups(7), cpu controller of v2 and v1). The affinity mask needs no cpuset file
beside it: the kernel keeps it within the cpuset (sched_setaffinity(2), NOTES).

Parsing takes text, so that files recorded on other machines can be read in tests.
"""

from __future__ import annotations

import posix

from srvinit.kernel.procfs import read_file
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # A path's content, None if it does not exist or may not be read.
    Reader = Callable[[str], str | None]


class Quota(Record):
    """A limit of CPU time: `quota_us` in every `period_us`, set by the file at `path`."""

    quota_us: int
    period_us: int
    path: str

    @property
    def cpus(self) -> int:
        """The CPUs it is worth, rounded up."""
        return max(1, -(-self.quota_us // self.period_us))


class Mount(Record):
    """A mounted cgroup hierarchy that may have the controller asked for."""

    point: str
    root: str  # what of the hierarchy is mounted there
    is_v2: bool


def cpu_limit() -> tuple[int, str]:
    """Return the number of CPUs srvinit may use, at least 1, and where it comes from, in words."""
    allowed = len(posix.sched_getaffinity(0))
    quota = tightest_quota(read_text)
    if quota is None or quota.cpus >= allowed:
        return allowed, f"the affinity mask allows {allowed}"
    exact = quota.quota_us / quota.period_us
    return quota.cpus, f"{quota.path} allows {exact:g}"


def tightest_quota(read: Reader) -> Quota | None:
    """Find the tightest CPU quota from our own cgroup up to the root of what is mounted."""
    tightest = None
    for is_v2, directories in places(read, "cpu"):
        for directory in directories:
            found = _quota_v2(read, directory) if is_v2 else _quota_v1(read, directory)
            if found and (tightest is None or _is_tighter(found, tightest)):
                tightest = found
    return tightest


def places(read: Reader, controller: str) -> Iterator[tuple[bool, list[str]]]:
    """Go through the hierarchies in which we may be limited: whether it is v2, and directories.

    The first directory is our own cgroup's, the last is the top of what is mounted.
    """
    ours = parse_cgroup(read("/proc/self/cgroup") or "")
    for mount in parse_mounts(read("/proc/self/mountinfo") or "", controller):
        path = ours.get("" if mount.is_v2 else controller)
        if path is not None:
            yield mount.is_v2, list(ancestors(mount, path))


def parse_cgroup(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: our path by v1 controller, and by "" for v2."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path:
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def parse_mounts(text: str, controller: str) -> list[Mount]:
    """Read /proc/self/mountinfo: the v2 hierarchy, and the v1 one with the controller."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if kind[:1] == ["cgroup2"]:
            mounts.append(Mount(place[4], place[3], is_v2=True))
        elif kind[:1] == ["cgroup"] and controller in kind[-1].split(","):
            mounts.append(Mount(place[4], place[3], is_v2=False))
    return mounts


def ancestors(mount: Mount, path: str) -> Iterator[str]:
    """Go through the directories of a cgroup and its ancestors, as far as they are mounted.

    A path outside of what is mounted ("/" with root "/docker/1f…", or "/../…") happens where /proc
    and the mount belong to different cgroup namespaces: then the mount's top is ours.
    """
    root = mount.root.rstrip("/")
    inside = path[len(root) :] if f"{path}/".startswith(f"{root}/") else ""
    if "/.." in inside:
        inside = ""
    while inside.rstrip("/"):
        yield mount.point + inside
        inside = inside.rpartition("/")[0]
    yield mount.point


def parse_cpu_max(text: str) -> tuple[int, int] | None:
    """Read a v2 cpu.max: (quota, period) in microseconds, None for no limit."""
    quota, _, period = text.strip().partition(" ")
    return (int(quota), int(period)) if quota.isdigit() and period.isdigit() else None


def _quota_v2(read: Reader, directory: str) -> Quota | None:
    found = parse_cpu_max(read(f"{directory}/cpu.max") or "")
    return Quota(*found, f"{directory}/cpu.max") if found and all(found) else None


def _quota_v1(read: Reader, directory: str) -> Quota | None:
    quota = (read(f"{directory}/cpu.cfs_quota_us") or "").strip()
    period = (read(f"{directory}/cpu.cfs_period_us") or "").strip()
    found = parse_cpu_max(f"{quota} {period}")  # -1 for no limit
    return Quota(*found, f"{directory}/cpu.cfs_quota_us") if found and all(found) else None


def _is_tighter(one: Quota, other: Quota) -> bool:
    return one.quota_us * other.period_us < other.quota_us * one.period_us


def read_text(path: str) -> str | None:
    """Read a file of a cgroup or of /proc; None where it is not there or not for us."""
    try:
        return read_file(path).decode("utf-8", "replace")
    except OSError:
        return None
