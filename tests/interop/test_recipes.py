"""Each recipe of README.md and docs/recipes.md is run here, with files that have what it shows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import readme
from kind import SERVERS
from kinds import KINDS, SHARED

if TYPE_CHECKING:
    from kind import Kind

PORT = int(readme.PORT)
SHORT = readme.short_recipes(PORT)
MODES = {(kind.name, kind.mode) for kind in KINDS}


def text_of_files(kind: Kind) -> str:
    names = [source for _, source in kind.files] + list(kind.sources)
    return "\n".join((SERVERS / name).read_text() for name in names)


def test_every_recipe_is_run() -> None:
    assert set(readme.recipes()) == {kind.recipe for kind in SHARED}


@pytest.mark.parametrize("kind", SHARED, ids=lambda kind: kind.name)
def test_the_files_have_what_the_recipe_shows(kind: Kind) -> None:
    needs = readme.recipe(kind.recipe, PORT).needs
    assert [need for need in needs if need not in text_of_files(kind)] == []


@pytest.mark.parametrize("server", SHORT)
def test_the_short_recipe_of_the_readme_is_the_one_that_is_run(server: str) -> None:
    short, whole = SHORT[server], readme.recipe(server, PORT)
    kind = next(kind for kind in SHARED if kind.recipe == server)

    assert (short.options, short.command) == (whole.options, whole.command)
    assert [need for need in short.needs if need not in text_of_files(kind)] == []


def test_threads_are_those_of_the_readme() -> None:
    assert "`--threads 4` likewise" in readme.TEXT
    threaded = readme.recipe("gunicorn gthread", PORT).command
    assert threaded == ["gunicorn", "--threads", "4", "app:app"]


def test_the_lines_for_node_are_those_of_the_server_that_is_run() -> None:
    assert readme.block("js") in (SERVERS / "server.js").read_text()


def test_every_server_has_its_figures() -> None:
    """`make interop` has measured each; the tables are made of that."""
    run = json.loads((readme.ROOT / "docs/interop.json").read_text())

    assert {(row["server"], row["mode"]) for row in run["servers"]} == MODES


def test_the_page_says_which_servers_ci_leaves_out() -> None:
    said = {
        re.sub(r"\[(.*)\]\(.*\)", r"\1", first): last
        for first, *_, last in readme.table("server", readme.RECIPES)[1:]
    }

    assert said == {kind.name: "yes" if kind.ci else "no" for kind in SHARED}
