"""srvinit's events are found in any stream of lines, and told apart from everything else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from srvinit.report.timeline.lines import LONGEST_LINE, pod_of, read, seconds

RECORDED = Path(__file__).parent / "recorded/timeline"
STORY = (RECORDED / "story.log").read_text().splitlines()
OURS = [line for line in STORY if line.startswith("{")]
LINE = OURS[2]
WHOLE = json.loads(LINE)


def names(*lines: str, name: str = "") -> list[tuple[str, str]]:
    return [(pod, event.name) for pod, event in read(lines, name)]


def test_every_event_of_a_real_log_is_found_among_the_workers_lines() -> None:
    assert len(STORY) > len(OURS) + 50, "the workers' tracebacks are in it"
    found = [event for _, event in read(STORY, "web")]
    assert [event.name for event in found] == [json.loads(line)["event"] for line in OURS]
    assert found[2].fields == {key: WHOLE[key] for key in ("slot", "generation", "pid", "why")}


@pytest.mark.parametrize(
    ("before", "pod"),
    [
        ("", "web.log"),
        ("[pod/web-7d9f-x2/web] ", "web-7d9f-x2/web"),
        ("[pod/web-7d9f-x2/web] 2026-11-25T16:53:54.911087000Z ", "web-7d9f-x2/web"),
        ("2026-11-25T16:53:54.911087000Z ", "web.log"),
        ("2026-11-25T16:53:54.911087000Z stderr F ", "web.log"),
        ("web-1  | ", "web-1"),
        ("a worker's words without an end", "web.log"),
        ("\x1b[36mweb-1 |\x1b[0m ", "web.log"),
    ],
)
def test_what_others_put_before_a_line(before: str, pod: str) -> None:
    assert names(before + LINE, name="web.log") == [(pod, "worker.started")]


def test_a_line_of_dockers_own_files() -> None:
    line = json.dumps({"log": LINE + "\n", "stream": "stderr", "time": "2026-11-25T16:53:54Z"})
    assert names(line.replace('{"log": ', '{"log":')) == [("", "worker.started")]


def test_two_events_on_one_line_where_a_line_end_was_lost() -> None:
    assert len(names(LINE + LINE)) == 2
    assert len(names(LINE[:200] + LINE)) == 2


def test_a_cut_line_gives_what_is_whole() -> None:
    for length in range(len(LINE)):
        for _, event in read([LINE[:length]], ""):
            assert event.name == "worker.started"
            for key, value in event.fields.items():
                assert WHOLE[key] == value, "a number that lost its end is no number"
    cut = LINE[: LINE.index('"why"')]
    ((_, event),) = read([cut], "")
    assert set(event.fields) == {"slot", "generation", "pid"}


@pytest.mark.parametrize(
    "line",
    [
        '{"timestamp": "2026-11-25T16:53:54Z", "event": "request", "slot": 1}',
        '{"timestamp": "2026-11-25T16:53:54Z", "event": ["worker.started"]}',
        '{"timestamp": "2026-11-25T16:53:54Z", "event": null}',
        '{"timestamp": "yesterday", "event": "worker.started"}',
        '{"timestamp": "2026-02-31T16:53:54Z", "event": "worker.started"}',
        '{"timestamp": "9999-12-31T23:59:59Z", "event": "worker.started"}',
        '{"timestamp": "',
        '{"timestamp": "' + "[" * 60000,
        '{"timestamp": "2026-11-25T16:53:54Z", "a": ' + "[" * 60000,
        "\0\ufffd\n",
        "",
    ],
)
def test_what_is_no_event_of_ours(line: str) -> None:
    assert names(line) == []


@pytest.mark.parametrize("value", ["1", True, None, [1], 1.5, {"a": 1}, float("nan"), 10**400])
def test_a_value_of_another_type_is_left_out(value: object) -> None:
    line = json.dumps({**WHOLE, "pid": value})
    ((_, event),) = read([line], "")
    assert "pid" not in event.fields or event.fields["pid"] == 1


def test_a_line_of_megabytes_is_looked_at_as_far_as_ours_go() -> None:
    assert names("x" * LONGEST_LINE * 20 + LINE) == []
    assert len(names("x" * 1000 + LINE)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_no_line_is_too_broken(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  to be repeated, not secret
    for line in STORY:
        broken = list(line)
        for _ in range(chance.randrange(6)):
            place = chance.randrange(len(broken) + 1)
            broken[place : place + chance.randrange(4)] = chance.choice(['"', "{", "\\", "", "é"])
        for _, event in read(["".join(broken)], ""):
            assert event.at > 0


def test_times() -> None:
    assert seconds("1970-01-01T00:00:10.25Z") == 10.25
    assert seconds("1970-01-01T01:00:10+01:00") == 10
    assert seconds("1970-01-01 00:00:10") is None
    assert seconds(10) is None


def test_a_pods_name_holds_nothing_else() -> None:
    assert pod_of("[pod/<b>/web] ") == "<b>/web", "markup is the business of markup"
    assert pod_of("[pod/a b/web] ") == ""
