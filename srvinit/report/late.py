"""Import what lines are made with, as cheaply as it goes; happens once the first worker runs."""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srvinit.report.render import Renderer

# structlog (24.1 to 26.1) and the part of the standard library it needs (logging, traceback,
# dataclasses) name these when they are imported, and use them only in functions that nobody calls
# here. dataclasses uses inspect for classes without a docstring, of which structlog has none.
UNUSED = ("asyncio", "uuid", "inspect", "linecache", "textwrap", "copy", "datetime")

# structlog imports twisted wherever it is installed, for renderers that nobody calls here: daphne
# and twistd need it, and in srvinit it took 0.1 s and 12 MB.
OPTIONAL = "twisted"


class _StandIn(ModuleType):
    """Stands for a module that is named at import and used much later, if ever."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:  # used during the import, after all
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def import_renderer() -> type[Renderer]:
    """Import srvinit.report.render, and so structlog, without what is UNUSED.

    That takes half of the time and 3 MB off the import. importlib's LazyLoader would load asyncio
    all the same, for structlog imports it twice. The stand-ins leave sys.modules again: whoever
    imports asyncio later gets the real one. There is no garbage to collect meanwhile.
    """
    collects = gc.isenabled()
    gc.disable()
    stand_ins = {name: _StandIn(name) for name in UNUSED if name not in sys.modules}
    sys.modules.update(stand_ins)
    hides = OPTIONAL not in sys.modules and "structlog" not in sys.modules
    if hides:  # None: as if it were not installed
        sys.modules[OPTIONAL] = None  # type: ignore[assignment]
    try:
        Renderer = _imported()  # noqa: N806  a class
    finally:
        if hides:
            del sys.modules[OPTIONAL]
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        if collects:
            gc.enable()
    if hides:
        structlog = sys.modules["structlog"]
        setattr(structlog, OPTIONAL, _StandIn(f"structlog.{OPTIONAL}"))
    return Renderer


def _imported() -> type[Renderer]:
    import logging

    # From Python 3.12 on each LogRecord, and structlog makes one at import, asks asyncio, if it is
    # there, for the running task.
    asks = getattr(logging, "logAsyncioTasks", None)
    if asks:
        logging.logAsyncioTasks = False  # type: ignore[attr-defined,unused-ignore]
    try:
        from srvinit.report.render import Renderer
    finally:
        if asks:
            logging.logAsyncioTasks = asks  # type: ignore[attr-defined,unused-ignore]
    return Renderer
