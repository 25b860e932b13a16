"""The status: what it says of the pool, in which form, and that docs/ describes it."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pools import pool_of
from published import UNIX, VALIDATOR, Published
from simulated import KILLED, Behaviour

from srvinit.lifecycle import events
from srvinit.report import reading
from srvinit.report.status import ENDED_RECYCLES, Status, first_line

if TYPE_CHECKING:
    from pools import Watched

DOCS = Path(__file__).parents[2] / "docs"
CRASHING = Behaviour(ready_after=None, ends_after=0.1, ends_with=3 << 8)


def told(
    count: int, *more: Any, seconds: float = 5.0, **settings: Any
) -> tuple[Watched, Published]:
    """Return a world that has begun and lived that long, and its status."""
    world = pool_of(count, *more, **settings)
    status = Published(world)
    world.begin().run(seconds)
    return world, status


def test_docs_describe_the_status_as_it_is() -> None:
    """Run `python docs/generate_status.py` when this fails."""
    generated = runpy.run_path(str(DOCS / "generate_status.py"))["files"]()

    assert {path.name: path.read_text() for path in generated} == {
        path.name: text for path, text in generated.items()
    }


# --- the first line ------------------------------------------------------------------------------


def test_the_first_line_is_what_a_probe_reads_and_all_of_it_is_one_object() -> None:
    _, status = told(2)
    text = status.text()
    line, whole = text.partition("\n")[0], json.loads(text)

    assert line.replace(str(whole["pid"]), "PID") == (
        '{"schema": 1, "pid": PID, "live": true, "ready": true, "phase": "serving", '
        '"why": "2 of 2 workers serve",'
    )
    names = ("schema", "pid", "live", "ready", "phase", "why")
    assert list(whole)[: len(names)] == list(names)
    for name in names:
        shown = whole[name] if isinstance(whole[name], str) else json.dumps(whole[name])
        assert reading.field(line, name) == shown


def test_the_first_line_fits_into_what_a_probe_reads_of_it() -> None:
    why = "starting: 99999 of 99999 workers ready so far"
    line = first_line(4_194_304, False, why, "stopping")  # noqa: FBT003  as in a head

    assert len(line) < reading.FIRST_LINE_BYTES


def test_the_workers_stand_one_on_a_line() -> None:
    _, status = told(3)
    lines = status.text().split('"workers": [\n')[1].splitlines()

    assert [json.loads(line.rstrip(","))["slot"] for line in lines[:-1]] == [0, 1, 2]
    assert lines[-1] == "]}"


# --- ready ---------------------------------------------------------------------------------------


def test_a_pool_is_ready_once_all_its_workers_have_been() -> None:
    delays = iter((0.1, 0.1, 5.0))
    world, status = told(
        3, choose=lambda *_: Behaviour(ready_after=next(delays)), worker_timeout=30, seconds=1
    )
    early = status.read()
    world.run(10)
    late = status.read()

    assert (early["ready"], early["why"]) == (False, "starting: 2 of 3 workers ready so far")
    assert (late["ready"], late["why"]) == (True, "3 of 3 workers serve")


def test_a_pool_stays_ready_while_one_worker_serves() -> None:
    world, status = told(2, restart_delay=5)
    first, second = world.pids()

    world.kill(first)
    world.run(0.1)
    one_left = status.read()
    world.kill(second)
    world.run(0.1)
    none_left = status.read()
    world.run(20)

    assert (one_left["ready"], one_left["why"]) == (True, "1 of 2 workers serve")
    assert (none_left["ready"], none_left["why"]) == (False, "none of 2 workers serves")
    assert status.read()["ready"]


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_pool_is_not_ready_from_the_first_request_to_stop_on(name: str) -> None:
    world, status = told(2, shutdown_delay=5, recycle_settle=0)

    world.signal(name)
    found = status.read()

    assert found["serving"] == (2 if name == "TERM" else 0)
    assert (found["live"], found["ready"]) == (True, False)
    assert found["phase"] == ("draining" if name == "TERM" else "stopping")
    assert found["shutdown"]["why"] == f"SIG{name}"
    assert found["shutdown"]["by"] == UNIX + world.now + (21 if name == "TERM" else 16)


# --- recycles ------------------------------------------------------------------------------------


def test_a_recycle_is_told_of_from_its_request_to_its_end() -> None:
    world, status = told(2)
    asked_at = world.now
    world.signal("HUP")
    running = status.read()["recycles"]
    world.run(20)
    over = status.read()["recycles"]

    assert running["requests"] == running["asked"] == running["begun"] == 1
    assert running["requested_monotonic"] == asked_at
    assert running["running"]["generation"] == 2
    assert (running["running"]["replaced"], running["running"]["workers"]) == (0, 2)
    assert over["running"] is None
    assert [(one["pass"], one["outcome"], one["replaced"]) for one in over["ended"]] == [
        (1, "finished", 2)
    ]
    assert over["ended"][0]["seconds"] > 1


def test_requests_during_a_recycle_are_one_pass_and_all_are_counted() -> None:
    world, status = told(2)

    for _ in range(4):
        world.signal("HUP")
    found = status.read()["recycles"]

    assert (found["requests"], found["asked"], found["begun"], found["queued"]) == (4, 2, 1, True)
    world.run(30)
    found = status.read()["recycles"]
    assert (found["requests"], found["asked"], found["begun"], found["queued"]) == (4, 2, 2, False)
    assert status.read()["counters"]["recycles"]["finished"] == 2


def test_a_failed_recycle_names_the_last_failure_and_its_status() -> None:
    behaviours = iter([Behaviour(), Behaviour()])
    world, status = told(2, choose=lambda *_: next(behaviours, CRASHING), restart_delay=0)

    world.signal("HUP")
    world.run(30)
    (ended,) = status.read()["recycles"]["ended"]

    assert ended["outcome"] == "failed"
    assert ended["last_failure"].endswith(": exit 3")
    assert ended["last_status"] == 3
    assert ended["seconds"] is None


def test_a_recycle_that_a_shutdown_ends_is_abandoned() -> None:
    world, status = told(2)

    world.signal("HUP")
    world.signal("TERM")

    assert [one["outcome"] for one in status.read()["recycles"]["ended"]] == ["abandoned"]


def test_settings_that_were_refused_stand_with_the_recycle_that_went_on_without_them() -> None:
    world, status = told(1, recycle_settle=0)
    world.next_config = lambda: events.ConfigRejected(["web.toml:3: a", "web.toml:4: b"])

    world.signal("HUP")
    during = status.read()["recycles"]["running"]["rejected"]
    world.run(10)
    world.next_config = lambda: events.ConfigRead(world.options, 1)
    world.signal("HUP")
    world.run(10)

    assert during == "web.toml:3: a; web.toml:4: b"
    assert [one["rejected"] for one in status.read()["recycles"]["ended"]] == [during, None]


def test_only_the_last_recycles_are_kept() -> None:
    world, status = told(1, recycle_settle=0)

    for _ in range(ENDED_RECYCLES + 3):
        world.signal("HUP")
        world.run(5)
    found = status.read()["recycles"]

    assert [one["pass"] for one in found["ended"]] == list(range(4, ENDED_RECYCLES + 4))


# --- counters, clocks, secrets -------------------------------------------------------------------


def test_what_happened_is_counted() -> None:
    world, status = told(2, recycle_settle=0, restart_delay=0)

    world.kill(world.pids()[0], KILLED)
    world.run(3)
    world.kill(world.pids()[0], 0)
    world.run(3)
    status.hear("orphan.reaped", pid=7, status=0)
    status.lines_dropped = 5
    counters = status.read()["counters"]

    assert counters["workers_started"] == 4
    assert counters["restarts"] == {"crash": 1, "clean-exit": 1}
    assert (counters["orphans_reaped"], counters["log_lines_dropped"]) == (1, 5)
    assert counters["kills"] == counters["spawn_failures"] == 0


def test_kills_and_spawn_failures_are_counted() -> None:
    first = iter([Behaviour(ready_after=None, stops_after=None), Behaviour(fails_to_spawn=True)])
    _, status = told(1, choose=lambda *_: next(first, Behaviour()), restart_delay=0, seconds=30)
    counters = status.read()["counters"]

    assert (counters["kills"], counters["spawn_failures"]) == (1, 1)


def test_workers_that_the_kernel_killed_for_lack_of_memory_are_counted() -> None:
    status = Status(1, {})
    for is_oom in (True, False, True):
        assert status.hear("worker.exited", {"oom": is_oom})
    assert status._counters["oom_kills"] == 2


def test_times_follow_a_wall_clock_that_is_set() -> None:
    """Those of workers whose lines are kept, too."""
    world, status = told(1)
    before = status.read()
    status.clock += 3600
    after = status.read()

    assert before["started_at"] == UNIX
    assert after["started_at"] == UNIX + 3600
    (one,), (other,) = before["workers"], after["workers"]
    assert other["started_at"] - one["started_at"] == 3600
    assert other["ready_at"] - one["ready_at"] == 3600
    assert world.now > one["started_at"] - UNIX


def test_whatever_words_come_in_it_stays_one_json_object() -> None:
    world, status = told(1)
    world.next_config = lambda: events.ConfigRejected(['"quoted"\n\\ \u2028 \udcff'])

    world.signal("HUP")

    assert list(VALIDATOR.iter_errors(status.read())) == []


@pytest.mark.parametrize("count", [2, 300])
def test_one_worker_that_changed_costs_the_same_among_many(count: int) -> None:
    """In calls of Python's; what grows with their number is the joining of bytes alone."""
    world = pool_of(count, restart_delay=5, recycle_settle=0)
    world.witness = None  # the oracle counts all of them at each step
    status = Published(world)
    world.begin().run(1)
    status.text()
    world.kill(world.pids()[0])
    world.run(0.1)

    calls: list[str] = []
    sys.setprofile(lambda _frame, event, _argument: calls.append(event))
    status.text()
    sys.setprofile(None)

    assert 10 < calls.count("call") < 60


def test_the_sums_and_settings_that_portions_come_to_are_told() -> None:
    _, status = told(4, recycle_max_surge="50%", recycle_max_unavailable="25%")
    settings = status.read()["settings"]

    assert (settings["recycle.max_surge"], settings["recycle.max_unavailable"]) == (2, 1)


def test_signals_stand_by_what_they_mean_under_these_settings() -> None:
    _, changed = told(1, signal=["HUP=forward", "QUIT=shutdown", "USR1=recycle", "TTOU=ignore"])
    signals = changed.read()["signals"]

    assert signals["recycle"] == "USR1"
    assert signals["scale-down"] is None
    assert signals["shutdown"] in {"TERM", "QUIT"}
