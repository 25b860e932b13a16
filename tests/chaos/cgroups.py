"""Groups of the kernel (cgroup v1: cgroups(7)) in which processes lack something awhile.

A group lies below the one its first process was in, so no bound around the tests is left. Where a
controller is not mounted so, or may not be written, there is no group and its deed is not done.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import uuid
from pathlib import Path

import proc

ROOT = Path("/sys/fs/cgroup")
# What it writes to a tmpfs is the group's and not its own: who is large itself may be taken first.
HOG = 'echo $$ > "$0/cgroup.procs" && exec cat /dev/zero > "$1"'


class Group:
    """One group with one file set; `back` gives its processes back and removes it."""

    def __init__(self, controller: str, pid: int) -> None:
        """Make it beside process `pid`. Raises OSError where that cannot be."""
        told = proc.read(f"/proc/{pid}/cgroup").decode()
        found = re.search(rf"^\d+:{controller}:(.*)$", told, re.MULTILINE)
        if found is None:
            raise FileNotFoundError(controller)
        self._home = ROOT / controller / found[1].lstrip("/")
        self.path = self._home / f"chaos-{uuid.uuid4().hex[:8]}"
        self.path.mkdir()

    def set(self, name: str, value: str) -> None:
        """Write one of its files."""
        (self.path / name).write_text(value)

    def take(self, *pids: int) -> None:
        """Move processes into it; one that is gone needs none."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self.set("cgroup.procs", str(pid))

    def back(self) -> None:
        """Move all who are in it to where they were, and remove it."""
        if (self.path / "freezer.state").exists():
            self.set("freezer.state", "THAWED")

        def is_gone() -> bool:
            for pid in proc.read(self.path / "cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    (self._home / "cgroup.procs").write_text(pid.decode())
            with contextlib.suppress(OSError):  # EBUSY: who is dying still counts
                self.path.rmdir()
            return not self.path.exists()

        proc.wait_until(is_gone, 10, f"{self.path} to be empty")


def kill_by_memory(pid: int) -> None:
    """Let the kernel's OOM killer take a process, in a group with a hog."""
    group = Group("memory", pid)
    try:
        group.set("memory.limit_in_bytes", "8M")
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        group.take(pid)
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            hog = subprocess.Popen(["sh", "-c", HOG, os.fspath(group.path), file.name])
            try:
                hog.wait(10)  # the killer takes it too, after the victim
            finally:
                hog.kill()
                hog.wait()
        proc.wait_until(lambda: proc.state(pid) in "ZX", 10, f"{pid} to be killed for memory")
    finally:
        group.back()
