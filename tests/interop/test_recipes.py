"""The README's recipes are all run here, and the files beside them have what they ask for."""

from __future__ import annotations

import pytest
import readme
from kinds import SERVERS, SHARED, Kind

WITH_RECIPE = [kind for kind in SHARED if kind.recipe]
BUILT_FROM = {"Go": "main.go"}


def test_every_recipe_is_run() -> None:
    assert {cells[0] for cells in readme.table("server")[1:]} == {
        kind.recipe for kind in WITH_RECIPE
    }


@pytest.mark.parametrize("kind", WITH_RECIPE, ids=lambda kind: kind.name)
def test_the_files_have_what_the_recipe_asks_for(kind: Kind) -> None:
    recipe = readme.recipe(kind.recipe, int(readme.PORT))
    names = [source for _, source in kind.files]
    names += [BUILT_FROM[kind.recipe]] if kind.build else []
    texts = "\n".join((SERVERS / name).read_text() for name in names)

    assert [need for need in recipe.needs if need not in texts] == []


def test_threads_are_those_of_the_readme() -> None:
    more = {" ".join(kind.more) for kind in SHARED if kind.recipe == "gunicorn" and kind.more}
    assert more == {"--threads 4"}
    assert "`--threads 4` likewise" in readme.TEXT


def test_the_lines_for_node_are_those_of_the_server_that_is_run() -> None:
    assert readme.block("js") in (SERVERS / "server.js").read_text()
