"""srvinitctl: what it shows, takes and refuses. What it does is in tests/process."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from pools import pool_of
from published import UNIX, Published
from simulated import Behaviour

from srvinit import ctl
from srvinit.control import install
from srvinit.control.arguments import seconds
from srvinit.control.status import render

SERVING = Behaviour()
CRASHING = Behaviour(ready_after=None, ends_after=0.1, ends_with=3 << 8)
SETTLES = {"recycle_settle": 1, "restart_delay": 0}


def shown(status: Published, now: float) -> list[str]:
    return list(render(status.read(), UNIX + now))


# --- the table -----------------------------------------------------------------------------------


def test_the_table_shows_who_serves_since_when() -> None:
    world = pool_of(2, **SETTLES)
    status = Published(world)
    world.begin().run(5)

    lines = shown(status, 3725)

    first, *rest = lines
    assert first.startswith("srvinit ")
    assert first.endswith("is ready: 2 of 2 workers serve")
    assert rest == [
        "up 1 h 2 min, generation 1, 2 wanted, 2 serving, 2 settled",
        "2 workers started, 0 restarts, 0 kills, 0 orphans reaped",
        "",
        "SLOT  PID  GENERATION  STATE    AGE        READY AFTER  WHY",
        "   0  100           1  settled  1 h 2 min  10 ms        start",
        "   1  101           1  settled  1 h 2 min  10 ms        start",
    ]


def test_a_running_recycle_and_the_last_one_are_told_of() -> None:
    kinds = iter([SERVING, SERVING, CRASHING])
    world = pool_of(2, choose=lambda *_: next(kinds, SERVING), **SETTLES)
    status = Published(world)
    world.begin().run(5)
    world.signal("HUP")
    world.signal("HUP")
    world.run(0.3)
    during = shown(status, world.now)
    world.run(30)
    after = shown(status, world.now)

    line = "recycling to generation 2 (SIGHUP) for 300 ms: 0 of 2 replaced, 1 failure, the last: "
    assert f"{line}worker 0 (pid 102): exit 3, one more follows" in during
    assert any(one.startswith("the last recycle, to generation 3, finished in ") for one in after)
    assert not any(one.startswith("recycling") for one in after)


def test_a_failed_recycle_shows_its_last_failure() -> None:
    kinds = iter([SERVING])
    world = pool_of(1, choose=lambda *_: next(kinds, CRASHING), **SETTLES)
    status = Published(world)
    world.begin().run(5)
    world.signal("HUP")
    world.run(30)

    told = "the last recycle, to generation 2, failed: worker 0 (pid 103): exit 3"
    assert told in shown(status, world.now)


def test_a_shutdown_shows_how_long_it_takes_at_most() -> None:
    world = pool_of(1, Behaviour(stops_after=None), shutdown_timeout=15, shutdown_margin=1)
    status = Published(world)
    world.begin().run(5)
    world.signal("TERM")
    world.run(6)

    lines = shown(status, world.now)

    assert lines[0].endswith("is not ready: stopping: srvinit is shutting down")
    assert "shutting down (SIGTERM): over within 10 s" in lines
    assert "srvinit is shutting down" in lines[-1]


def test_one_that_starts_is_not_ready_after_anything() -> None:
    world = pool_of(1, Behaviour(ready_after=None), worker_timeout=60)
    status = Published(world)
    world.begin().run(1)

    row = shown(status, world.now)[-1].split()

    assert row[:4] == ["0", "100", "1", "starting"]
    assert row[-2:] == ["-", "start"]


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    world = pool_of(1)
    status = Published(world)
    world.begin().run(5)

    assert "up 0 s, " in shown(status, -3600)[1]


def test_lines_that_were_dropped_are_told_of() -> None:
    world = pool_of(1)
    status = Published(world)
    world.begin().run(1)
    status.lines_dropped = 7

    assert any(line.endswith(", 7 log lines dropped") for line in shown(status, 2))


# --- words ---------------------------------------------------------------------------------------


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        status: Any = ctl.main(list(words))
    except SystemExit as left:
        status = left.code
    return status, *capfd.readouterr()


@pytest.mark.parametrize("name", ctl.COMMANDS)
def test_each_command_says_what_it_is_for(capfd: pytest.CaptureFixture[str], name: str) -> None:
    _, listed, _ = run(capfd, "--help")
    status, told, _ = run(capfd, name, "--help")

    assert status == 0
    assert f"srvinitctl {name}" in told
    assert ctl.COMMANDS[name][1] in listed


@pytest.mark.parametrize(("module", "_summary"), ctl.COMMANDS.values(), ids=list(ctl.COMMANDS))
def test_each_commands_module_is_there(module: str, _summary: str) -> None:
    assert callable(importlib.import_module(module).main)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "which command? status, ready, live, "),
        (["frobnicate"], "there is no command 'frobnicate': status, ready, live, "),
        (["recylce"], "there is no command 'recylce': recycle?"),
        (["scale"], "the following arguments are required: N"),
        (["scale", "0"], "'0' is no number of workers: 1 at least"),
        (["scale", "-1"], "'-1' is no number of workers: 1 at least"),
        (["scale", "many"], "'many' is no number of workers: 1 at least"),
        (["ready", "--pid", "0"], "'0' is no pid"),
        (["status", "--pid", "one"], "'one' is no pid"),
        (["ready", "now"], "unrecognized arguments: now"),
        (["recycle", "--wait", "--timeout", "soon"], "'soon' is no duration"),
        (["stop", "--timeout=-1"], "'-1' is no duration"),
        (["stop", "--timeout=nan"], "'nan' is no duration"),
        (["status", "--js"], "unrecognized arguments: --js"),
        (["install"], "the following arguments are required: DIR"),
    ],
)
def test_wrong_words_are_one_line_and_status_2(
    capfd: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    status, told, said = run(capfd, *words)

    assert (status, told, said.count("\n")) == (2, "", 1)
    assert said.startswith("srvinitctl: ")
    assert fault in said


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90.0), ("1.5s", 1.5), ("250ms", 0.25), ("2m", 120.0), ("1h", 3600.0)]
)
def test_durations_are_those_of_settings(text: str, found: float) -> None:
    assert seconds(text) == found


def test_a_pid_that_is_nobodys_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Above the highest that Linux gives."""
    for word in ("ready", "live", "status", "recycle", "stop"):
        assert run(capfd, word, "--pid=4194999") == (
            1,
            "",
            "srvinitctl: there is no process 4194999\n",
        )


def test_only_a_frozen_srvinit_is_copied(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, told, said = run(capfd, "install", str(tmp_path))

    assert (status, told) == (1, "")
    assert said == "srvinitctl: only a frozen srvinit can be copied, and this is not one\n"


def test_a_copy_has_the_same_files_and_modes(tmp_path: Path) -> None:
    program = tmp_path / "from" / "inner" / "program"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"x" * 3_000_000)
    program.chmod(0o755)
    (tmp_path / "to").mkdir()

    for _ in range(2):  # once more over itself
        assert install.copy(str(tmp_path / "from"), str(tmp_path / "to")) == 3_000_000
    copied = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert copied == [tmp_path / "to" / "inner" / "program"]
    assert copied[0].read_bytes() == program.read_bytes()
    assert copied[0].stat().st_mode == program.stat().st_mode


# --- docs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "docs/srvinitctl.md"])
def test_the_docs_name_every_command(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text()
    named = set(re.findall(r"`([a-z]+)[^`]*`", text.partition("| command | does |")[2]))

    assert set(ctl.COMMANDS) <= named


def test_the_table_of_the_docs_is_what_is_rendered() -> None:
    """Its lines, their order and their columns; the numbers are of another day."""
    page = (Path(__file__).parents[2] / "docs" / "srvinitctl.md").read_text()
    shape = [re.sub(r"\d+", "0", line).split() for line in page.split("```")[1].splitlines()[2:]]
    world = pool_of(4, restart_reset=1, **SETTLES)
    status = Published(world)
    world.begin().run(5)
    world.signal("HUP")
    world.run(30)
    made = [re.sub(r"\d+", "0", line).split() for line in shown(status, world.now)]

    assert [line[0] for line in shape if line and line[0] != "listens"] == [
        line[0] for line in made if line
    ]
    assert [line for line in shape if line[:1] == ["SLOT"]] == [
        line for line in made if line[:1] == ["SLOT"]
    ]
