"""Chaos for some seconds, thrice: two plans that are always the same, and one of the day.

CHAOS_SEED=... is a run again, CHAOS_S seconds of it; a failure names both. `make soak` goes on
with new seeds for SRVINIT_SOAK_S seconds.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import clock
import harness
import proc
import pytest
from cgroups import Group, kill_by_memory
from plan import MODES, WEIGHTS, plan
from scenes import as_root
from verdict import judge, lost, untrue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = float(os.environ.get("CHAOS_S", "5"))
FIXED = ("tern", "skua", "rail")
SEEDS = (*FIXED, dt.datetime.now(dt.UTC).date().isoformat())


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
    for seed in FIXED:
        steps = plan(seed, 20).steps
        ended = {step.number for step in steps if step.ends}
        assert {step.what for step in steps if not step.ends and step.number in ended}
    assert sorted(plan(seed, SECONDS).mode for seed in FIXED) == sorted(MODES)
    assert {step.what for seed in FIXED for step in plan(seed, 20).steps} == set(WEIGHTS)


# --- what it does, done once: a plan leaves out what the machine has not --------------------------


def test_the_clock_that_jumps_is_installed() -> None:
    if clock.LIBRARY is None:
        harness.missing("libfaketime")


@as_root
def test_the_groups_of_the_kernel_do_what_they_are_for() -> None:
    with subprocess.Popen(["sleep", "1000"]) as victim:
        try:
            with group("freezer", victim.pid) as frozen:
                frozen.set("freezer.state", "FROZEN")
                held = frozen.path / "freezer.state"
                proc.wait_until(lambda: held.read_text() == "FROZEN\n", 10, "it to be frozen")
            with group("pids", victim.pid) as alone:
                alone.set("pids.max", "1")
                assert (alone.path / "pids.current").read_text() == "1\n"
            proc.wait_until(lambda: proc.state(victim.pid) == "S", 10, "it to be thawed")
            with group("memory", victim.pid):
                pass
            kill_by_memory(victim.pid)
        finally:
            victim.kill()
        assert victim.wait(10) == -signal.SIGKILL


@contextlib.contextmanager
def group(controller: str, pid: int) -> Iterator[Group]:
    """Hold a process in a group for the time of a `with`; skip, and be counted, without one."""
    try:
        made = Group(controller, pid)
    except OSError as refused:
        pytest.skip(f"MISSING: a cgroup (v1) of {controller} that may be written: {refused}")
    try:
        made.take(pid)
        yield made
    finally:
        made.back()


# --- the oracle itself ---------------------------------------------------------------------------

WHO = {"slot": 0, "generation": 1, "pid": 7}
END = {**WHO, "reason": "exit 0"}
LOG = [
    {"event": "worker.started", **WHO},
    {"event": "worker.ready", **WHO},
    {"event": "worker.exited", **END},
    {"event": "srvinit.exiting", "status": 0},
]
AT = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
LOSS = {"at": AT.isoformat(), "how": "reset", "worker": "7"}


def told(events: list[dict[str, Any]], *, losses: Any = (), kills: Any = ()) -> list[str]:
    """Return what is found wrong with a run that this is known of."""
    log = SimpleNamespace(events=events, strays=[])
    log.found = lambda name: [event for event in events if event["event"] == name]
    counts = {"lost": 0, "status_5xx": 0, "status_other": 0}
    figures = {"new": counts, "kept": {**counts, "lost": len(losses)}, "losses": list(losses)}
    pool = SimpleNamespace(exit_status=lambda _: 0)
    ordeal: Any = SimpleNamespace(
        log=log, seen={107: 7}, kills=dict(kills), losses=figures, pool=pool
    )
    return [*untrue(ordeal), *lost(ordeal)]


def test_the_oracle_takes_what_is_right() -> None:
    assert told(LOG) == []
    assert told(LOG, losses=[LOSS], kills={7: AT.timestamp() - 1}) == []
    dropped = {"event": "log.dropped", "lines": 1}
    assert told([*LOG[:2], dropped, *LOG[3:]]) == []


@pytest.mark.parametrize(
    "events",
    [
        [*LOG[:2], *LOG[3:]],  # no end
        LOG[1:],  # no start
        LOG[3:],  # a child that nobody tells of
        [*LOG[:3], LOG[2], *LOG[3:]],  # two ends
        [LOG[1], LOG[0], *LOG[2:]],  # ready before it is started
        [*LOG[:2], {**LOG[2], "reason": "SIGKILL"}, *LOG[3:]],  # by whom?
        [{**LOG[0], "generation": 2}, *LOG[1:]],  # which nobody asked for
        [{**LOG[0], "pid": pid} for pid in (7, 8, 9)]  # three in a slot
        + [{**LOG[2], "pid": pid} for pid in (7, 8, 9)]
        + LOG[3:],
        [{"event": "log.dropped", "lines": 1}, *LOG[3:]],  # two are missing
        [*LOG[:3], {**LOG[3], "status": 1}],
        LOG[:3],
        [{"event": "srvinit.fault", "traceback": ""}, *LOG],
    ],
)
def test_the_oracle_sees_a_log_that_is_wrong(events: list[dict[str, Any]]) -> None:
    assert told(events)


@pytest.mark.parametrize(
    ("losses", "kills"),
    [
        ([LOSS], {}),
        ([LOSS], {8: AT.timestamp() - 1}),  # another's
        ([LOSS], {7: AT.timestamp() - 10}),  # long ago
        ([LOSS], {7: AT.timestamp() + 1}),  # later
        ([{**LOSS, "how": "timeout"}], {7: AT.timestamp() - 1}),
        ([{**LOSS, "how": "refused", "worker": None}], {7: AT.timestamp() - 1}),
        ([{**LOSS, "worker": None}] * 9, {7: AT.timestamp() - 1}),  # more than there are clients
    ],
)
def test_the_oracle_sees_a_loss_that_is_nobodys(losses: Any, kills: Any) -> None:
    assert told(LOG, losses=losses, kills=kills)
