"""Machines whose cgroup files were recorded: see unit/recorded/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = Path(__file__).parent / "unit" / "recorded" / "cgroup"


def files_of(name: str) -> dict[str, str]:
    """Return the content of each file recorded on one machine, by its path."""
    files: dict[str, str] = {}
    path = ""
    for line in (RECORDED / f"{name}.txt").read_text().splitlines(keepends=True):
        if line.startswith("==> "):
            path = line.split()[1]
        else:
            files[path] = files.get(path, "") + line
    return files


def machine(name: str) -> Callable[[str], str | None]:
    """Return a reader of the files recorded on one machine."""
    return files_of(name).get
