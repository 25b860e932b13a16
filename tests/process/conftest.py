"""Fixtures of the black-box tests: cgroups of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import proc
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytest.register_assert_rewrite("scenes")

CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def cgroup() -> Iterator[Callable[..., Path]]:
    """Make a cgroup with a controller and its limits; skip where the machine lets nobody do so."""
    made: list[Path] = []

    def make(controller: str, limits: Mapping[str, str]) -> Path:
        top = CGROUPS / controller  # version 1: a hierarchy for each controller
        if not top.is_dir():
            top = CGROUPS
            if controller not in proc.read(top / "cgroup.subtree_control").decode().split():
                pytest.skip(f"no cgroup controller {controller} to be had here")
        group = top / f"srvinit-test-{uuid.uuid4().hex[:12]}"
        try:
            group.mkdir()
        except OSError as refused:
            pytest.skip(f"no cgroup may be made here: {refused.strerror}")
        made.append(group)
        for name, value in limits.items():
            (group / name).write_text(value)
        return group

    yield make
    for group in made:
        with contextlib.suppress(FileNotFoundError):
            proc.wait_until(lambda group=group: is_removed(group), 10, f"{group} to be empty")


def is_removed(group: Path) -> bool:
    """Remove a cgroup; kill who is in it, and say False, as long as somebody is."""
    for pid in proc.read(group / "cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    try:
        group.rmdir()
    except OSError:
        return False
    return True
