"""What a name was probably meant to be: the hint at the end of a fault."""

from __future__ import annotations

from srvinit.settings.table import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from srvinit.settings.table import Setting


def guess(
    name: str,
    spell: Callable[[Setting], str] = lambda row: row.name,
    extra: Iterable[Setting] = (),
) -> str:
    """Return the end of a fault about an unknown name: what it was probably meant to be."""
    near = nearest_setting(name, spell, extra)
    return f", did you mean {spell(near)}?" if near else ""


def nearest_setting(
    name: str,
    spell: Callable[[Setting], str],
    extra: Iterable[Setting] = (),
    furthest: int | None = None,
) -> Setting | None:
    """Return the setting whose spelling is nearest to `name`, if one is near.

    Without one, the last part of a setting's name will do if it is one setting's alone: "margin".
    `furthest` is that of `nearest`; `extra` are rows that are no settings.
    """
    rows = [*SETTINGS.values(), *extra]
    by_spelling = {spell(row): row for row in rows}
    found = nearest(name, by_spelling, furthest)
    if found:
        return by_spelling[found]
    bare = name.lstrip("-").lower().replace("-", "_")
    alike = [row for row in rows if bare and bare in {row.aka, row.name.partition(".")[2]}]
    return alike[0] if len(alike) == 1 else None


def nearest(word: str, names: Iterable[str], furthest: int | None = None) -> str | None:
    """Return the name that `word` was probably meant to be, if one is near.

    `furthest` is the number of typing slips allowed; a third of the word's letters by default.
    """
    limit = max(2, len(word) // 3) if furthest is None else furthest
    found = None
    for name in names:
        if abs(len(name) - len(word)) <= limit:
            slips = _slips(word, name)
            if slips <= limit:
                found, limit = name, slips - 1
    return found


def _slips(word: str, name: str) -> int:
    """Count the letters lost, added, wrong or swapped with their neighbour (Damerau's distance)."""
    before: list[int] = []
    above = list(range(len(name) + 1))
    for i, letter in enumerate(word, 1):
        row = [i]
        for j, wanted in enumerate(name, 1):
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == name[j - 2] and word[i - 2] == wanted:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, above = above, row
    return above[-1]
