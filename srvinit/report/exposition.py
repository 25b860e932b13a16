"""Imports prometheus_client, as much of it as writes metrics down: in the endpoint's helper alone.

Its package imports HTTP servers and clients, TLS and e-mail, which it would serve and push with:
0.3 s and 15 MB of memory, and in a frozen build 5 MB of files. None of that is reached from here,
so stand-ins with empty classes take their place while it is imported (0.19 to 0.26).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from srvinit.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "prometheus_client"
NOT_INSTALLED = "prometheus_client is not installed (pip install 'srvinit[metrics]')"
UNUSED = (
    "base64",
    "gzip",
    "http",
    "http.server",
    "socketserver",
    "ssl",
    "urllib",
    "urllib.error",
    "urllib.parse",
    "urllib.request",
    "wsgiref",
    "wsgiref.simple_server",
)


class Exposition(Record):
    """What is used of prometheus_client: its kinds of families, and its choice of a format.

    `choose` takes an Accept header, and returns what makes bytes of a collector, and their type.
    """

    families: dict[str, Any]  # by type: counter, gauge, info, summary
    choose: Callable[[str], tuple[Callable[[Any], bytes], str]]


class _StandIn(ModuleType):
    """A module in which every name is an empty class: to inherit from, or to annotate with."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


def is_installed() -> bool:
    """Tell whether there is a prometheus_client to import, without importing anything."""
    return _spec() is not None


def load() -> Exposition | None:
    """Import it; None where it is not installed."""
    spec = _spec()
    if spec is None:
        return None
    before = dict(sys.modules)
    package = ModuleType(PACKAGE)  # in place of the real one, which imports everything
    package.__path__ = spec.submodule_search_locations or []
    package.__spec__ = spec
    stand_ins = {name: _StandIn(name) for name in UNUSED if name not in sys.modules}
    for stand_in in stand_ins.values():
        stand_in.__path__ = []
    sys.modules.update(stand_ins)
    if PACKAGE not in sys.modules:
        sys.modules[PACKAGE] = package
    try:
        from prometheus_client import exposition, metrics_core
    finally:  # whoever imports any of them later gets the real one
        for name in set(sys.modules) - set(before):
            if name in stand_ins or name.partition(".")[0] == PACKAGE:
                del sys.modules[name]
    families = {
        "counter": metrics_core.CounterMetricFamily,
        "gauge": metrics_core.GaugeMetricFamily,
        "info": metrics_core.InfoMetricFamily,
        "summary": metrics_core.SummaryMetricFamily,
    }
    return Exposition(families, exposition.choose_encoder)


def _spec() -> Any:
    """Find it as an import would, in a frozen build too."""
    for finder in sys.meta_path:
        found = finder.find_spec(PACKAGE, None)
        if found is not None:
            return found
    return None
