"""Chaos for some seconds, thrice: two plans that are always the same, and one of the day.

CHAOS_SEED=... is a run again, CHAOS_S seconds of it; a failure names both. `make soak` goes on
with new seeds for SRVINIT_SOAK_S seconds.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING

import pytest
from plan import WEIGHTS, plan
from scenes import as_root
from verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("CHAOS_S", "5"))
SEEDS = ("tern", "skua", dt.datetime.now(dt.UTC).date().isoformat())


@as_root
@pytest.mark.parametrize(
    "seed", [os.environ["CHAOS_SEED"]] if "CHAOS_SEED" in os.environ else SEEDS
)
def test_chaos_loses_nothing_but_what_it_kills(seed: str, tmp_path: Path) -> None:
    chosen = plan(seed, SECONDS)
    wrong = judge(chosen, tmp_path)
    assert not wrong, f"CHAOS_SEED={seed} CHAOS_S={SECONDS:g}: {wrong}\n{chosen}"


def test_a_seed_is_a_plan() -> None:
    """The same each time, with an end for all that begins; the fixed ones are one of each mode."""
    assert plan("tern", 20) == plan("tern", 20) != plan("skua", 20)
    for seed in ("tern", "skua"):
        steps = plan(seed, 20).steps
        ended = {step.number for step in steps if step.ends}
        assert {step.what for step in steps if not step.ends and step.number in ended}
    assert {plan(seed, SECONDS).steered for seed in SEEDS[:2]} == {True, False}
    assert {step.what for seed in SEEDS[:2] for step in plan(seed, 20).steps} == set(WEIGHTS)
