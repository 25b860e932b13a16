"""docs/lifecycle.md says what the tables say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_is_generated_from_the_tables() -> None:
    generated = runpy.run_path(str(DOCS / "generate_lifecycle.py"))["page"]()

    shown = (DOCS / "lifecycle.md").read_text()

    assert shown == generated, "run: python docs/generate_lifecycle.py"
