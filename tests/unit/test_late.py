"""What srvinit's log imports, and when: as little as it goes, once the first worker runs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_no_module_is_imported_on_the_way_to_the_first_exec() -> None:
    """Each would stand between exec(srvinit) and the first worker: performance of the start."""
    code = (
        "import sys; had = set(sys.modules)\n"
        "from srvinit.report.log import Log; Log().emit('worker.started', {})\n"
        "print(*sorted(set(sys.modules) - had))"
    )
    seen = run(code, "-S").split()
    assert seen == ["__future__", "srvinit", "srvinit.report", "srvinit.report.log"]


def test_structlog_is_imported_without_asyncio_and_asyncio_stays_usable() -> None:
    code = (
        "import sys\n"
        "from srvinit.report.log import Log; log = Log(); log.start()\n"
        "print('structlog' in sys.modules, 'asyncio' in sys.modules, 'uuid' in sys.modules)\n"
        "import structlog, structlog._native; print(structlog._native.asyncio.run.__module__)\n"
        "import asyncio.events, asyncio; print(asyncio is sys.modules['asyncio'])\n"
        "print(asyncio.run(asyncio.sleep(0, asyncio.events.get_running_loop is not None)))\n"
        "import gc, logging; print(gc.isenabled(), getattr(logging, 'logAsyncioTasks', True))"
    )
    assert run(code).split() == [
        "True", "False", "False", "asyncio.runners", "True", "True", "True", "True",
    ]  # fmt: skip


def test_a_twisted_that_is_installed_is_left_alone_and_structlogs_part_of_it_stays_usable(
    tmp_path: Path,
) -> None:
    """It is installed for daphne; structlog would import it into srvinit: 0.1 s and 12 MB."""
    for name in ("twisted/__init__", "twisted/python/__init__"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("failure = log = None\n" if "python" in name else "")
    (tmp_path / "twisted/python/failure.py").write_text("Failure = None\n")
    (tmp_path / "twisted/python/log.py").write_text("ILogObserver = textFromEventDict = None\n")
    (tmp_path / "zope").mkdir()
    (tmp_path / "zope/interface.py").write_text("def implementer(_): return lambda it: it\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from srvinit.report.log import Log; log = Log(); log.start()\n"
        "print('structlog' in sys.modules, 'twisted' in sys.modules)\n"
        "import structlog; print(structlog.twisted.EventAdapter.__name__)\n"
        "print(sys.modules['twisted'].__file__)"
    )
    assert run(code).split() == ["True", "False", "EventAdapter", f"{tmp_path}/twisted/__init__.py"]


def test_what_is_put_off_is_there_once_it_is_used() -> None:
    """Without docstrings (-OO) dataclasses uses inspect while structlog is imported."""
    code = (
        "import sys\n"
        "from srvinit.report.log import Log; log = Log(); log.start()\n"
        "import dataclasses, inspect, traceback\n"
        "print(dataclasses.inspect.signature.__module__, inspect.signature.__module__)\n"
        "print(traceback.linecache.getline.__module__, traceback.textwrap.indent.__module__)"
    )
    for flags in ((), ("-OO",)):
        assert run(code, *flags).split() == ["inspect", "inspect", "linecache", "textwrap"]


def run(code: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout
