"""What became of each worker is told as the log has it, and no more than it has."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from srvinit.report.timeline import clock, lines, panel, story
from srvinit.report.timeline.story import (
    CRASHED,
    LEFT,
    RUNNING,
    STOPPED,
    UNSEEN,
    Life,
    Pod,
)

RECORDED = Path(__file__).parent / "recorded/timeline"


def pods_in(text: str) -> list[Pod]:
    found: dict[str, list[lines.Event]] = {}
    for pod, event in lines.read(text.splitlines(), "web"):
        found.setdefault(pod, []).append(event)
    return [story.tell(pod, events, clock.straighten(events)) for pod, events in found.items()]


def pod_in(text: str) -> Pod:
    (pod,) = pods_in(text)
    return pod


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.log").read_text()


def states(life: Life) -> list[str]:
    return [state for state, _ in life.phases]


def line(event: str, at: float, **fields: Any) -> str:
    timestamp = f"2026-11-25T16:{int(at // 60):02d}:{at % 60:09.6f}Z"
    said = {"timestamp": timestamp, "level": "info", "event": event, "message": event, **fields}
    return json.dumps(said) + "\n"


@pytest.mark.parametrize("name", ["story", "kill", "crashes"])
def test_every_worker_of_a_real_log_is_told_of_once(name: str) -> None:
    told = [json.loads(line) for line in recorded(name).splitlines() if line[:1] == "{"]
    started = [event["pid"] for event in told if event["event"] == "worker.started"]
    exited = {event["pid"]: event for event in told if event["event"] == "worker.exited"}
    pod = pod_in(recorded(name))

    assert [life.pid for life in pod.lives] == started
    for life in pod.lives:
        assert life.ended_at - life.began_at == pytest.approx(exited[life.pid]["lived_s"], abs=0.05)
        assert states(life)[-1] == exited[life.pid]["was"].replace("settled", "ready")
        assert life.reason == exited[life.pid]["reason"]


def test_the_recorded_story() -> None:
    """A crash, a recycle, a bad deploy, a shutdown that must kill one."""
    pod = pod_in(recorded("story"))

    assert Counter(life.end for life in pod.lives) == {STOPPED: 8, CRASHED: 4}
    assert [span.kind for span in pod.spans] == ["recycle", "failed", "drain", "stop", "margin"]
    assert [mark.label for mark in pod.marks] == ["start", "HUP", "HUP", "TERM", "exit 124"]
    assert sum(life.killed_at is not None for life in pod.lives) == 1
    assert panel.summary(pod).endswith(
        "12 workers, 1 recycle, 1 failed recycle, 4 crashed, 1 killed, exit 124"
    )
    budget = pod.spans[-3:]
    assert [round(span.until - span.since, 3) for span in budget] == [2, 9, 2]
    assert budget[0].until == budget[1].since
    assert [level for _, level, _ in pod.said].count("error") == 1


def test_debug_lines_tell_when_a_worker_had_settled() -> None:
    lives = pod_in(recorded("kill")).lives
    assert len(lives) == 6
    assert sum(life.settled_at is not None for life in lives) >= 5
    assert all(life.killed_at is not None for life in lives)


def test_two_pods_are_told_apart() -> None:
    first, second = pods_in(recorded("pods"))
    assert (first.name, second.name) == ("web-7d9f4b-abcde/web", "web-7d9f4b-fghij/web")
    assert [len(first.lives), len(second.lives)] == [4, 3]
    assert [life.end for life in second.lives].count(CRASHED) == 1


@pytest.mark.parametrize("name", ["story", "kill", "crashes", "pods"])
def test_a_log_may_begin_and_end_anywhere(name: str) -> None:
    """Rotated away, cut, or taken while srvinit runs: each part is told as far as it goes."""
    whole = recorded(name).splitlines()
    for place in range(1, len(whole)):
        for part in (whole[place:], whole[:place]):
            for pod in pods_in("\n".join(part)):
                assert pod.begins_at <= pod.ends_at
                for life in pod.lives:
                    assert pod.begins_at <= life.began_at <= life.ended_at <= pod.ends_at
                    since = [at for _, at in life.phases]
                    assert since == sorted(since)
                    assert life.phases
                for span in pod.spans:
                    assert span.since <= span.until


def test_a_worker_whose_start_is_gone_began_with_the_log_at_the_latest() -> None:
    text = line("worker.ready", 10, slot=0, pid=6, generation=2, after_s=0.5)
    text += line("worker.exited", 20, slot=1, pid=7, generation=2, lived_s=4.0, was="settled")
    pod = pod_in(text)
    ready, exited = pod.lives

    assert not ready.has_start
    assert ready.end == RUNNING
    assert exited.ended_at - exited.began_at == pytest.approx(4.0)
    assert states(exited) == ["ready"]


def test_a_worker_whose_end_is_missing_ends_where_its_pid_is_anothers() -> None:
    text = line("worker.started", 1, slot=0, pid=6, generation=1, why="start")
    text += line("worker.started", 9, slot=1, pid=6, generation=1, why="start")
    assert [life.end for life in pod_in(text).lives] == [UNSEEN, RUNNING]


def test_a_container_that_was_started_again_goes_on_in_its_panel() -> None:
    begin = line("srvinit.started", 1, workers=1, command="web", version="1")
    began = line("worker.started", 2, slot=0, pid=6, generation=1, why="start")
    stop = line("shutdown.started", 3, why="SIGTERM", delay_s=0, timeout_s=30, margin_s=1)
    again = line("srvinit.started", 9, workers=1, command="web", version="2")
    pod = pod_in(begin + began + stop + again)

    assert [life.end for life in pod.lives] == [UNSEEN]
    assert "srvinit 2" in pod.title
    assert max(span.until for span in pod.spans) == pod.ends_at, "the first one's budget is over"


def test_one_that_leaves_by_itself_has_not_crashed() -> None:
    text = line("worker.started", 1, slot=0, pid=6, generation=1, why="start")
    text += line("worker.exited", 2, slot=0, pid=6, generation=1, status=0, asked=False)
    assert pod_in(text).lives[0].end == LEFT


def test_a_drain_that_was_hurried_is_shorter() -> None:
    text = line("shutdown.started", 1, why="SIGTERM", delay_s=5, timeout_s=10, margin_s=1)
    text += line("shutdown.hurried", 2, signal="INT", saved_s=4)
    pod = pod_in(text)
    assert [round(span.until - span.since, 3) for span in pod.spans] == [1, 10, 1]
    assert pod.spans[0].until == pytest.approx(pod.spans[1].since)


def test_troubles_are_marked_where_nothing_else_shows_them() -> None:
    text = line("srvinit.started", 0, workers=1, command="web")
    text += line("log.dropped", 1, lines=3).replace('"info"', '"warning"')
    text += line("a.future.event", 2)
    pod = pod_in(text)
    assert [(mark.kind, mark.label) for mark in pod.marks[1:]] == [("trouble", "log.dropped")]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"slot": 0},
        {"pid": 1},
        {"slot": -(2**53), "pid": 2**53, "generation": -1},
        {"slot": 0, "pid": 1, "lived_s": -5},
        {"slot": 0, "pid": 1, "after_s": 1e300, "generation": 1.5},
        {"why": "", "delay_s": -3, "timeout_s": 1e308, "margin_s": True},
    ],
)
def test_no_field_is_too_strange(fields: dict[str, Any]) -> None:
    from srvinit.report.catalogue import EVENTS

    text = "".join(line(event, at, **fields) for at, event in enumerate(EVENTS))
    assert pod_in(text).ends_at >= pod_in(text).begins_at
