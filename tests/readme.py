"""Reads README.md and docs/recipes.md: code blocks, tables, recipes; tests run what users paste.

Nothing here knows what a block should say: whoever asks for one that is not there gets an error.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
PORT = "8080"  # the one port of all examples; tests put a free one in its place


def block(language: str, word: str = "", text: str = TEXT) -> str:
    """Return the first fenced code block of that language that has the word in it."""
    found = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for code in found:
        if word in code:
            return str(code)
    raise LookupError(f"no block of {language} has {word!r}")


def table(first_head: str, text: str = TEXT) -> list[list[str]]:
    """Return the cells of the table whose first column has this head; the heads come first."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if rows and not line.startswith("|"):
            return [rows[0], *rows[2:]]
        if rows or (line.startswith("|") and cells[0] == first_head):
            rows.append(cells)
    if not rows:
        raise LookupError(f"no table begins with {first_head!r}")
    return [rows[0], *rows[2:]]


def spans(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


class Recipe(NamedTuple):
    """How a server runs as a worker: `options` and `command` are argv, `needs` stands in files."""

    options: list[str]
    command: list[str]
    needs: list[str]


def recipes() -> dict[str, str]:
    """Return the sections of docs/recipes.md that have a recipe, by their headings."""
    parts = re.split(r"^### (.*)\n", RECIPES, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def recipe(server: str, port: int) -> Recipe:
    """Return the recipe for a server out of docs/recipes.md, with another port.

    Its first block is the command; the others are what its files have.
    """
    first, *needs = re.findall(r"^```\w*\n(.*?)^```$", recipes()[server], re.MULTILINE | re.DOTALL)
    return _recipe(first.replace("\\\n", " "), port, needs)


def short_recipes(port: int) -> dict[str, Recipe]:
    """Return the recipes of README.md's table: each begins with what the head of the table has."""
    heads, *rows = table("server")
    found = {}
    for name, text in rows:
        needs = spans(text.partition(", with ")[2])
        found[name] = _recipe(f"{spans(heads[1])[0]} {spans(text)[0]}", port, needs)
    return found


def _recipe(command: str, port: int, needs: list[str]) -> Recipe:
    words = shlex.split(command.replace(PORT, str(port)))
    if words[0] != "srvinit":
        return Recipe([], words, needs)
    end = words.index("--")
    return Recipe(words[1:end], words[end + 1 :], needs)
