"""The README and docs/ say what the code says: tables, numbers, links, commands."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import readme
from pools import settled

from srvinit import cli, starting
from srvinit.kernel.exec import exit_status_for
from srvinit.lifecycle.ending import FORCED_STATUS
from srvinit.options import DEFAULT_MEANINGS, MEANINGS, SETTINGS, Options
from srvinit.settings.sources import Sources

if TYPE_CHECKING:
    from pathlib import Path

DOCS = readme.ROOT / "docs"
PAGES = [readme.ROOT / "README.md", readme.ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
#: How the README's table of signals begins to say what a signal means.
SAID = {
    "shutdown": ("graceful shutdown", "shutdown"),
    "interrupt": ("the same without `shutdown.delay`",),
    "recycle": ("recycle",),
    "scale-up": ("one worker more, one fewer",),
    "scale-down": ("one worker more, one fewer",),
    "window": ("only for a single worker that owns the terminal",),
    "stop-self": ("only for a single worker that owns the terminal",),
    "continue": ("forwarded to every worker",),
    "forward": ("forwarded to every worker",),
}


def test_every_generated_page_and_table_is_that_of_the_code() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.stderr == ""
    assert checked.returncode == 0


# --- settings ------------------------------------------------------------------------------------


def test_the_four_spellings_of_the_readme_are_one(tmp_path: Path) -> None:
    words = " ".join(readme.TEXT.partition("## Settings")[2].split())
    spellings = readme.spans(words.partition("four spellings by one rule")[2])
    flag, variable, toml, config, python = spellings[:5]
    file = tmp_path / "srvinit.toml"
    file.write_text(toml.replace("] ", "]\n"))
    name, _, value = variable.partition("=")
    keyword, _, text = python.removeprefix("Options(").removesuffix(")").partition("=")

    asked = [
        Sources([*flag.split(), "--", "web"], {}).load(),
        Sources(["--", "web"], {name: value}).load(),
        Sources([config, str(file), "--", "web"], {}).load(),
        Options(**{keyword: text.strip('"')}),
    ]

    assert [options.changed(Options()) for options in asked] == [["recycle.timeout"]] * 4
    assert {options.recycle_timeout for options in asked} == {20.0}


def test_the_pod_of_the_readme_is_accepted_and_its_picture_adds_up() -> None:
    """The lines of `env` are read as they stand: no YAML library is needed to know them."""
    pod = readme.block("yaml", "terminationGracePeriodSeconds")
    found = re.findall(r'- \{name: (\w+), value: "([^"]*)"\}', pod)
    assert len(found) == pod.count("- {name: ")
    grace_s = float(re.findall(r"terminationGracePeriodSeconds: (\d+)", pod)[0])
    picture = readme.block("text", "SIGKILL by the kubelet")
    shown = {part: float(number) for part, number in re.findall(r"(\w+) (\d+) s\b", picture)}

    options = Sources(["--", "web"], dict(found)).load()

    assert options.shutdown_grace_period == grace_s
    assert shown == {
        "delay": options.shutdown_delay,
        "timeout": options.shutdown_timeout,
        "margin": options.shutdown_margin,
    }
    assert sum(shown.values()) == grace_s


# --- signals and statuses ------------------------------------------------------------------------


def test_the_table_of_signals_is_that_of_the_settings() -> None:
    rows = {
        name: does
        for names, does in readme.table("signal to srvinit")[1:]
        for name in names.split(", ")
    }
    unusual = {name for name, does in DEFAULT_MEANINGS.items() if does != "forward"}

    assert unusual <= set(rows)
    assert set(rows) - {"…"} <= set(DEFAULT_MEANINGS)
    for name, does in rows.items():
        assert does.startswith(SAID[DEFAULT_MEANINGS.get(name, "forward")]), name


def test_the_meanings_that_a_signal_can_be_given_are_those_of_the_settings() -> None:
    words = readme.TEXT.partition("gives a signal another meaning:")[2].partition("\n\n")[0]
    named = readme.spans(words)

    assert named == re.findall(r"[a-z]+(?:-[a-z]+)?", ", ".join(named)), "one word each"
    assert set(named) <= set(MEANINGS)
    meaning = SETTINGS["signal"].meaning
    assert ", ".join(named[:-1]) in meaning
    assert named[-1] in meaning
    assert (
        Sources(["--signal", "QUIT=shutdown", "--", "web"], {}).load().signal["QUIT"] == "shutdown"
    )


def test_the_exit_statuses_are_those_of_the_code() -> None:
    """tests/process/test_exit_status.py has them from real runs."""
    rows = dict(readme.table("status")[1:])

    assert list(rows) == [
        "0",
        str(FORCED_STATUS),
        "the command's own, or 128 + its signal",
        f"{exit_status_for(errno.EACCES)}, {exit_status_for(errno.ENOENT)}",
        str(cli.USAGE_STATUS),
        str(starting.STATUS_OF_OUR_FAULT),
    ]


# --- links and commands --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if path.startswith(("https:", "http:")):
            continue
        assert (page.parent / path).exists(), target
        if heading:
            file = page.parent / path if path else page
            assert heading in headings(file.read_text(encoding="utf-8")), target


def headings(text: str) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in found}


def test_every_command_of_make_exists() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)\b", readme.block("sh", "make test")))
    named |= set(re.findall(r"`make ([a-z]+)`", readme.TEXT))
    targets = re.findall(r"^([a-z]+):", (readme.ROOT / "Makefile").read_text(), re.MULTILINE)

    assert named >= {"test", "demo", "bench"}
    assert named <= set(targets)


# --- how it works --------------------------------------------------------------------------------


def test_a_simulated_day_takes_a_moment() -> None:
    """24 hours, each with a recycle of four workers; measured: 0.05 s."""
    world = settled(4)
    began = time.process_time()
    for _ in range(24):
        world.signal("HUP")
        world.run(3600)
    spent = time.process_time() - began

    assert world.pool.generation == 25
    assert spent < 1
