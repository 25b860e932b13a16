"""docs/lifecycle.md says what the tables say, and docs/architecture.md what stands where."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_is_generated_from_the_tables() -> None:
    generated = runpy.run_path(str(DOCS / "generate_lifecycle.py"))["page"]()

    shown = (DOCS / "lifecycle.md").read_text()

    assert shown == generated, "run: python docs/generate_lifecycle.py"


def test_the_map_of_the_modules_is_that_of_the_code() -> None:
    generated = runpy.run_path(str(DOCS / "generate_architecture.py"))["page"]()

    shown = (DOCS / "architecture.md").read_text()

    assert shown == generated, "run: python docs/generate_architecture.py"
