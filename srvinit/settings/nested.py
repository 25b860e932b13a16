"""Settings in nested tables: a TOML file's, or a caller's dict."""

from __future__ import annotations

from srvinit.settings.spelling import guess
from srvinit.settings.table import SETTINGS, Given
from srvinit.settings.values import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BIND_LIST = "bind.address"  # in a file with a [bind] table, where `bind = [...]` cannot stand too


def flatten(
    table: Mapping[str, object], where: Callable[[str], str], faults: list[str]
) -> dict[str, Given]:
    """Return the values of nested tables by their settings' names.

    `where` says how a fault calls a dotted key. Unknown keys are added to `faults`.
    """
    groups = {setting.group for setting in SETTINGS.values() if setting.group != setting.name}
    given: dict[str, Given] = {}
    for key, value in table.items():
        if key in groups and isinstance(value, dict):
            dotted = {f"{key}.{name}": inner for name, inner in value.items()}
        elif key in groups and key not in SETTINGS:
            faults.append(f"{where(key)} {shown(value)}: expected a table of settings")
            continue
        else:
            dotted = {str(key): value}
        for name, inner in dotted.items():
            setting = "bind" if name == BIND_LIST else name
            if setting in SETTINGS:
                given[setting] = Given(inner, where(name))
            else:
                faults.append(f"{where(name)}: unknown setting{guess(name)}")
    return given
