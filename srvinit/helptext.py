"""What --help shows, made from the table of settings."""

from __future__ import annotations

from srvinit.options import GROUPS
from srvinit.settings.sources import EXTRA, USAGE
from srvinit.settings.table import SETTINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.settings.table import Setting

FLAG_COLUMN = 34


def help_text() -> str:
    """Return what --help shows: one line a setting, by group. docs/settings.md has the rest."""
    lines = [
        f"usage: {USAGE}",
        "",
        "Open the sockets, run N workers of COMMAND, replace, recycle and stop them gracefully.",
        *(_help_line(row, "") for row in EXTRA),
    ]
    for group, title in GROUPS.items():
        rows = [row for row in SETTINGS.values() if row.group == group]
        if rows:
            lines.append(f"{title}:")
            lines += [_help_line(row, _default(row)) for row in rows]
    lines += [
        "--recycle-timeout 15s is SRVINIT_RECYCLE_TIMEOUT=15s and, in the file, [recycle] timeout.",
        "TIME is 1500ms, 15s, 2m, 1h or seconds. In parentheses: the defaults.",
    ]
    return "\n".join(lines) + "\n"


def _help_line(row: Setting, default: str) -> str:
    flag = f"{row.short}, {row.flag}" if row.short else f"    {row.flag}"
    if row.is_boolean and row.name in SETTINGS:
        flag = f"    --[no-]{row.flag[2:]}"
    metavar = "" if row.is_boolean else f" {row.metavar}"
    summary = row.meaning.partition(";")[0].replace("`", "")
    return f"  {flag + metavar:<{FLAG_COLUMN}} {summary}{default}"


def _default(row: Setting) -> str:
    return f" ({row.default_text}{'; repeatable' if row.gather else ''})"
