"""The small pictures of `srvinitctl check`: each second in its place, each line short enough."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from srvinit.options import Options
from srvinit.report.budget import BAR_COLUMNS, COLUMNS, NAME_COLUMNS, draw, recycle, shutdown

CASES: list[dict[str, Any]] = [
    {},
    {"shutdown_grace_period": 30, "shutdown_delay": 5},
    {"shutdown_grace_period": "1h", "shutdown_delay": "1ms"},
    {"shutdown_timeout": 0, "shutdown_margin": 0},
    {"shutdown_timeout": "365m", "recycle_timeout": "8760h", "recycle_settle": 0},
    {"worker_timeout": "1ms", "recycle_timeout": "2ms", "recycle_settle": "1ms"},
    {"worker_timeout": "999h", "recycle_timeout": 0},
    {"bind": "127.0.0.1:0", "bind_mode": "steered", "worker_quiesce": "20s"},
    {"shutdown_grace_period": 60, "shutdown_timeout": 10, "worker_stop_signal": "RTMIN+15"},
]


def bars(lines: list[str]) -> dict[str, str]:
    return {line.split()[0]: line[NAME_COLUMNS:][:BAR_COLUMNS] for line in lines[2:]}


def test_the_parts_of_a_shutdown_follow_each_other_in_proportion() -> None:
    options = Options(shutdown_grace_period=40, shutdown_delay=10, shutdown_margin=4)
    shown = bars(draw(shutdown(options)))

    assert BAR_COLUMNS == 40, "one column a second"
    assert shown["delay"] == "." * 10 + " " * 30
    assert shown["timeout"] == " " * 10 + "=" * 25 + "K" + " " * 4
    assert shown["margin"] == " " * 36 + "####"
    assert shown["grace"] == "-" * 39 + "X"


def test_without_a_grace_period_nothing_is_said_of_its_end() -> None:
    assert "grace" not in bars(draw(shutdown(Options())))


def test_a_part_too_short_for_a_column_has_one() -> None:
    shown = bars(draw(shutdown(Options(shutdown_delay="1ms", shutdown_timeout="1h"))))
    assert shown["delay"].strip() == "."
    assert shown["margin"].strip() == "#"


@pytest.mark.parametrize("mode", ["steered", "swapped"])
def test_quiescing_comes_off_the_time_to_stop(mode: str) -> None:
    options = Options(bind="127.0.0.1:0", bind_mode=mode, worker_quiesce="5s")
    stages = {stage.name: stage for stage in recycle(options)}
    assert list(stages) == ["start", "settle", "quiesce", "stop"]
    assert stages["stop"].until - stages["quiesce"].since == options.recycle_timeout


@pytest.mark.parametrize("given", CASES)
@pytest.mark.parametrize("stages_of", [shutdown, recycle])
def test_whatever_the_times_are_the_picture_is_in_its_frame(
    given: dict[str, Any], stages_of: Any
) -> None:
    stages = stages_of(Options(**given))
    for one, other in itertools.pairwise(stages):
        assert other.name == "grace" or one.until == other.since
    for line in draw(stages):
        assert len(line) <= COLUMNS
        assert line.isascii()
    for name, bar in bars(draw(stages)).items():
        stage = next(stage for stage in stages if stage.name == name)
        assert bar.strip() or stage.until == stage.since, "what lasts is seen"
