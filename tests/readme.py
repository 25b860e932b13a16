"""Reads README.md: its code blocks, its tables, its recipes; so that tests run what users paste.

Nothing here knows what a block should say: whoever asks for one that is not there gets an error.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PORT = "8080"  # the one port of all examples; tests put a free one in its place


def block(language: str, word: str = "", text: str = TEXT) -> str:
    """Return the first fenced code block of that language that has the word in it."""
    found = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for code in found:
        if word in code:
            return str(code)
    raise LookupError(f"README.md has no block of {language} with {word!r}")


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
        raise LookupError(f"README.md has no table that begins with {first_head!r}")
    return [rows[0], *rows[2:]]


def spans(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


class Recipe(NamedTuple):
    """How a server runs as a worker: `options` and `command` are argv, `needs` stands in files."""

    options: list[str]
    command: list[str]
    needs: list[str]


def recipe(server: str, port: int) -> Recipe:
    """Return the recipe for a server, with another port: first what the head of its table has."""
    heads, *rows = table("server")
    row = next((cells for cells in rows if cells[0] == server), None)
    if row is None:
        raise LookupError(f"README.md has no recipe for {server!r}")
    first = spans(row[1])[0]
    needs = spans(row[1].partition(", with ")[2])
    words = shlex.split(f"{spans(heads[1])[0]} {first}".replace(PORT, str(port)))
    if words[0] != "srvinit":
        raise ValueError(f"{words} is to begin with srvinit")
    end = words.index("--")
    return Recipe(words[1:end], words[end + 1 :], needs)
