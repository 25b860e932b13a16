"""Writes generated files, or says which differ: for the programs beside this file."""  # noqa: INP001

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def main(pages: Mapping[Path, Callable[[], str]]) -> int:
    """Write the files that differ; with --check say which do, and return 1 if there are any."""
    differing = {
        path: text
        for path, page in pages.items()
        if (text := page()) != (path.read_text(encoding="utf-8") if path.exists() else "")
    }
    if "--check" in sys.argv[1:]:
        for path in differing:
            sys.stderr.write(f"{path.name} differs from its sources: run make docs\n")
        return 1 if differing else 0
    for path, text in differing.items():
        path.write_text(text, encoding="utf-8")
    return 0
