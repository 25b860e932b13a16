"""How much memory each process group has, by one walk through /proc.

What it rests on (proc(5)): /proc/PID/stat has a process's group and its resident set in pages,
which may be a few pages behind. Pages that several processes share count in each of them: the
figure of a group is an upper bound. To say what they share truly (smaps_rollup) the kernel walks
all page tables of a process, with its memory map locked meanwhile.
"""

from __future__ import annotations

import posix

from srvinit.kernel.procfs import read_file

# Of what stands behind the name: proc(5), /proc/PID/stat, fields 5 and 24.
_GROUP, _PAGES = 2, 21


def group_sizes() -> dict[int, int]:
    """Return the bytes of each process group's members, by group; of those that can be seen.

    Raises OSError where there is no /proc.
    """
    page = posix.sysconf("SC_PAGE_SIZE")
    sizes: dict[int, int] = {}
    for name in posix.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            text = read_file(f"/proc/{name}/stat")
        except OSError:  # ENOENT, ESRCH: it has ended. EACCES: hidden from us
            continue
        group, pages = parse_size(text)
        sizes[group] = sizes.get(group, 0) + pages * page
    return sizes


def parse_size(text: bytes) -> tuple[int, int]:
    """Read a process's group and its resident pages out of /proc/PID/stat."""
    fields = text.rpartition(b")")[2].split()
    return int(fields[_GROUP]), int(fields[_PAGES])
