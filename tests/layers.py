"""A chart's values, layer upon layer: for tests/chart and tests/cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values as helm does: maps by key, everything else whole."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            result[key] = merged(old or {}, value) if both else value
    return result
