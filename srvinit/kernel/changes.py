"""fcntl(F_NOTIFY): SIGIO when something in a directory changes. And what a path leads to, exactly.

A configuration that is swapped under a running program changes anywhere on the way to it: in place,
by a rename over it, or by a link that leads elsewhere from now on (a mounted ConfigMap: app.toml ->
..data/app.toml, ..data -> ..2026_11_25). So each directory on the way is watched, and what is at
the end of the way is compared. What it rests on:

- F_NOTIFY watches one directory by an open descriptor: what happens to its entries, not to itself,
  and not below. It wakes by SIGIO and says nothing else (fcntl(2)): whoever is woken has to look.
  It needs no privilege, no library and no descriptor of its own kind, as inotify(7) would.
- Several directories share the one pending SIGIO; with DN_MULTISHOT it goes on until the close.
- Nothing is told of what another machine does to a network file system, of what the host does to
  many a file system it shares with a guest, and of a file that is mounted by itself (docker -v
  FILE:FILE), for that lies in a directory that is not here (fs/notify/dnotify, tried).
- gVisor refuses it (EINVAL); so do kernels without CONFIG_DNOTIFY.
"""

from __future__ import annotations

import errno
import fcntl
import posix

from srvinit.kernel.descriptors import close_all
from srvinit.kernel.procfs import read_file
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Of a directory on the way: whether an entry comes, goes or is replaced.
_ENTRIES = fcntl.DN_MULTISHOT | fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_DELETE
# Of the last one also what becomes of the content. DN_ATTRIB: touch(1).
_CONTENT = _ENTRIES | fcntl.DN_MODIFY | fcntl.DN_ATTRIB

# inode(7): which bits of st_mode say what a file is.
_FORMAT, _LINK, _DIRECTORY = 0o170000, 0o120000, 0o040000
_MOST_LINKS = 40  # as the kernel follows: path_resolution(7)

# File systems whose changes may come from elsewhere, by the start of their names in mountinfo.
_REMOTE = ("nfs", "cifs", "smb", "ceph", "fuse", "9p", "virtiofs", "gluster", "lustre", "afs")

# What is at the end of a way: inode, size, time of the last change of its content.
Identity = tuple[object, ...]


class Way(Record):
    """Where a path leads. `identity` is None where nothing is there.

    `passed` are the directories on the way, `held` those whose entries' content counts.
    """

    identity: Identity | None
    passed: set[str]
    held: set[str]
    end: str


def follow(path: str) -> Way:
    """Follow an absolute path as the kernel would, and look at what it leads to.

    Of a directory the entries count, each as far as it leads; those of its subdirectories do not.
    """
    passed: set[str] = set()
    end, found = _walk(path, passed)
    if found is None:
        return Way(None, passed, set(), end)
    if found.st_mode & _FORMAT != _DIRECTORY:
        return Way(_identity(found), passed, {end.rpartition("/")[0] or "/"}, end)
    listed: list[object] = [found.st_dev, found.st_ino]
    held = {end}
    for name in sorted(_names(end)):
        entry_end, entry = _look_up(f"{end.rstrip('/')}/{name}", passed)
        if entry is not None:
            is_directory = entry.st_mode & _FORMAT == _DIRECTORY
            # A subdirectory's size and time change with what is in it, which is not asked for.
            listed += [name, (entry.st_dev, entry.st_ino) if is_directory else _identity(entry)]
            held.add(entry_end.rpartition("/")[0] or "/")
    return Way(tuple(listed), passed, held, end)


def _look_up(path: str, passed: set[str]) -> tuple[str, posix.stat_result | None]:
    """Look at an entry of a directory whose way is known; as `_walk`."""
    try:
        found = posix.lstat(path)
    except OSError:  # ENOENT: it went meanwhile
        return path, None
    return (path, found) if found.st_mode & _FORMAT != _LINK else _walk(path, passed)


def _identity(found: posix.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _names(directory: str) -> list[str]:
    try:
        return posix.listdir(directory)
    except OSError:  # EACCES: its entries cannot be listed. ENOENT: it is gone again
        return []


def _walk(path: str, passed: set[str]) -> tuple[str, posix.stat_result | None]:
    """Go a way step by step; return where it ends, without links, and what is there, if anything.

    Each directory in which a step was looked up is added to `passed`.
    """
    here, steps, links = "", path.split("/")[::-1], 0
    while steps:
        step = steps.pop()
        if step in {"", "."}:
            continue
        if step == "..":
            here = here.rpartition("/")[0]
            continue
        passed.add(here or "/")
        there = f"{here}/{step}"
        try:
            found = posix.lstat(there)
            if found.st_mode & _FORMAT != _LINK:
                here = there
                continue
            target = posix.readlink(there)
        except OSError:  # ENOENT, ENOTDIR: not there. EACCES: not for us
            return there, None
        links += 1
        if links > _MOST_LINKS:
            return there, None
        here = "" if target.startswith("/") else here
        steps += target.split("/")[::-1]
    try:
        return here or "/", posix.lstat(here or "/")  # the last step may have been a `..`
    except OSError:
        return here, None


class Bells:
    """The directories that are watched, each by a descriptor; close them all with `close`."""

    def __init__(self) -> None:
        self._rung: dict[str, tuple[int, int, Identity]] = {}  # fd, mask, and which directory

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors, which are srvinit's own."""
        return tuple(fd for fd, _, _ in self._rung.values())

    def hang(self, ways: Iterable[Way]) -> dict[str, str]:
        """Watch all that these ways pass, and nothing else; return why not, by directory.

        To be called again whenever they may have changed: a directory of the same name may be
        another one now.
        """
        wanted: dict[str, int] = {}
        for way in ways:
            for directory in way.passed:
                wanted.setdefault(directory, _ENTRIES)
            wanted.update(dict.fromkeys(way.held, _CONTENT))
        refused = {}
        for directory in self._rung.keys() - wanted.keys():
            close_all((self._rung.pop(directory)[0],))
        for directory, mask in wanted.items():
            why = self._hang_one(directory, mask)
            if why:
                refused[directory] = f"F_NOTIFY: {why}"
        return refused

    def _hang_one(self, directory: str, mask: int) -> str:
        """Watch one directory; return the name of the error, nothing if there is none."""
        try:
            found = posix.stat(directory)
            which = found.st_dev, found.st_ino
            if directory in self._rung:
                if self._rung[directory][1:] == (mask, which):
                    return ""
                close_all((self._rung.pop(directory)[0],))
            fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return ""  # it is gone again, which the one above it has told
            return errno.errorcode.get(error.errno or 0, "unknown")
        try:
            fcntl.fcntl(fd, fcntl.F_NOTIFY, mask)
        except OSError as error:  # EINVAL, ENOTTY: not on this kernel or file system
            close_all((fd,))
            return errno.errorcode.get(error.errno or 0, "unknown")
        self._rung[directory] = fd, mask, which
        return ""

    def close(self) -> None:
        """Watch nothing any more."""
        self.hang([])


def why_silent(way: Way) -> str:
    """Say why nobody is told of a change there, though it may be watched; nothing if we are.

    A file that is mounted by itself, or a file system whose changes come from elsewhere.
    """
    try:
        mounts = read_file("/proc/self/mountinfo", 1 << 20).decode("utf-8", "replace")
    except OSError:  # no /proc: hope for the best
        return ""
    return parse_silence(mounts, way.end, is_file=way.end not in way.held)


def parse_silence(mountinfo: str, end: str, *, is_file: bool) -> str:
    """Read /proc/self/mountinfo: what it says of the file or directory at `end`."""
    best = kind = ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place, words = before.split(), after.split()
        point = place[4].replace("\\040", " ")
        if f"{end}/".startswith(f"{point.rstrip('/')}/") and len(point) >= len(best):
            best, kind = point, words[0]
    if is_file and best == end:
        return "it is mounted by itself"
    return f"it is on {kind}" if kind.startswith(_REMOTE) else ""
