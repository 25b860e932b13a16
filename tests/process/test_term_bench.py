"""What measures how soon TERM is acted on, and what scrapes cost, measures that; nothing is judged.

The real run: `bench/run.py term readyz scrapes`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import measure
import programs
import scraping
import stopping


@pytest.mark.parametrize("role", stopping.MOMENTS.values())
def test_the_workers_say_when_they_had_their_stop_signal(role: str, tmp_path: Path) -> None:
    """Before srvinit's end, and in that order; who lingers holds it up for a second."""
    helpers = programs.compile_helpers(str(tmp_path))

    seen = stopping.one_stop(helpers["termed"], role)

    assert 0 < seen["first_ms"] <= seen["all_ms"] < seen["over_ms"]
    assert seen["over_ms"] > (900 if role == "lingers" else 0)


def test_readyz_is_asked_until_it_says_no_and_livez_until_nobody_answers() -> None:
    seen = stopping.one_unreadiness(2, "1s")

    assert 0 < seen["unready_ms"] < 1000 < seen["over_ms"]
    assert seen["lives"] > 0
    assert seen["not_live"] == 0


def test_scrapes_are_made_and_the_helper_pays_for_them(tmp_path: Path) -> None:
    scale = replace(measure.QUICK, rounds=1)

    subject = scraping.measure(scale, programs.compile_helpers(str(tmp_path)))

    assert "scrapes cost PID 1 nothing: not judged" in str(subject)
    assert " 0 scrapes" not in str(subject)
