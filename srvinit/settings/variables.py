"""Settings from SRVINIT_* variables, and the neighbours that have the same prefix by chance."""

from __future__ import annotations

from srvinit.settings.sources import CONFIG, PREFIX
from srvinit.settings.spelling import nearest_setting
from srvinit.settings.table import SETTINGS, Given
from srvinit.settings.values import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from srvinit.settings.table import Setting

# Given to workers by srvinit itself; a srvinit that is somebody's worker finds them.
LEFT_ALONE = {"SRVINIT_WORKER", "SRVINIT_GENERATION"}


def read_environment(environ: Mapping[str, str], faults: list[str]) -> dict[str, Given]:
    """Return what SRVINIT_* variables set; names that look like typing errors go to `faults`."""
    rows = {row.variable: row for row in (*SETTINGS.values(), CONFIG)}
    given: dict[str, Given] = {}
    for name, text in environ.items():
        if name[:8].upper() != PREFIX:
            continue
        row = rows.get(name)
        if row:
            given[row.name] = Given(_split(text, row) if row.gather else text, name)
        elif name not in LEFT_ALONE and not _is_from_kubernetes(name, text):
            near = _meant_variable(name)
            if near is not None:
                faults.append(f"{plain(name)}: unknown variable{near}")
    return given


def _split(text: str, row: Setting) -> list[str]:
    """Return the entries of a list; at least one, so that an empty variable is refused."""
    if row.separator == "\n":
        return [line for line in text.split("\n") if line] or [""]
    entries = [entry.strip() for entry in text.replace("\n", row.separator).split(row.separator)]
    while len(entries) > 1 and not entries[-1]:
        del entries[-1]  # a YAML block ends with a newline
    return entries


def _meant_variable(name: str) -> str | None:
    """Return what `name` was meant to be, as a hint; None if it is nobody's near relation.

    A name in a group's own namespace (SRVINIT_RECYCLE_...) is always taken for a typo.
    """
    stem = name[8:].upper()
    near = nearest_setting(
        stem, lambda row: row.attribute.upper(), (CONFIG,), max(1, len(stem) // 4)
    )
    if near:
        return f", did you mean {near.variable}?"
    groups = {row.group.upper() for row in SETTINGS.values()}
    return "" if stem.partition("_")[0].removesuffix("S") in groups else None


def _is_from_kubernetes(name: str, text: str) -> bool:
    """Hold for what a kubelet injects for each Service called srvinit or srvinit-something."""
    stem = name[len("SRVINIT") :]
    if stem.endswith(("_SERVICE_HOST", "_SERVICE_PORT")) or "_SERVICE_PORT_" in stem:
        return True
    if stem.endswith("_PORT") and "://" in text:  # tcp://10.0.0.1:80, and no bare port
        return True
    port, protocol, *rest = [*stem.rpartition("_PORT_")[2].split("_"), ""]
    return (
        "_PORT_" in stem
        and port.isdigit()
        and protocol in {"TCP", "UDP", "SCTP"}
        and rest in ([""], ["PROTO", ""], ["PORT", ""], ["ADDR", ""])
    )
