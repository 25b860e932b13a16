"""The programs that are measured: srvinit, its peers as far as they are installed, C helpers."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

HERE = Path(__file__).parent
ROOT = HERE.parent
SRVINIT = [sys.executable, "-m", "srvinit"]
#: An init and nothing else, and how it is told to be one.
INITS = {"tini": ["tini", "-s", "--"], "dumb-init": ["dumb-init"], "catatonit": ["catatonit", "--"]}
PATIENCE_S = 60.0


def installed(name: str) -> bool:
    """Tell whether a program is there; what is not is left out, and the report says so."""
    return shutil.which(name) is not None


def inits() -> dict[str, list[str]]:
    """Return the peers of srvinit as an init, tini first, as far as they are installed."""
    return {name: command for name, command in INITS.items() if installed(name)}


def compile_helpers(folder: str) -> dict[str, str]:
    """Compile bench/helpers/*.c into a folder; return their paths by name."""
    built = {}
    for source in sorted((HERE / "helpers").glob("*.c")):
        path = f"{folder}/{source.stem}"
        subprocess.run(["cc", "-O2", "-static", "-o", path, str(source)], check=True)
        built[source.stem] = path
    return built


def bare(python: str) -> list[str]:
    """Return the least that Python can do: start, and become the worker."""
    return [python, "-I", "-S", "-c", "import posix, sys; posix.execv(sys.argv[1], sys.argv[1:])"]


def unfrozen(python: str) -> list[str]:
    """Return srvinit from its source tree in a Python as bare as that; structlog is not so far."""
    folders = [str(ROOT), sysconfig.get_path("purelib")]
    line = (
        f"import sys; sys.path += {folders!r}; from srvinit.__main__ import main; sys.exit(main())"
    )
    return [python, "-I", "-S", "-c", line]


class Running:
    """A program under measurement, its stderr read as it comes; killed at the end of a `with`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        stdout: int = subprocess.DEVNULL,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environ or {}),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._said = b""
        self._has_more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=10)
        if self._process.stderr is not None and not self._reader.is_alive():
            self._process.stderr.close()

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def wait_said(self, text: str, within: float = PATIENCE_S) -> None:
        """Wait until it has said this on stderr, since the last `forget`."""
        with self._has_more:
            if not self._has_more.wait_for(lambda: text.encode() in self._said, within):
                end = self._said.decode(errors="replace")[-2000:]
                raise RuntimeError(f"{text!r} did not come from {self._process.args}:\n{end}")

    def forget(self) -> None:
        """Forget what it has said so far."""
        with self._has_more:
            self._said = b""

    def wait_end(self, within: float = PATIENCE_S) -> None:
        """Wait until it has ended, and leave it a zombie, whose CPU time can still be read."""
        fd = os.pidfd_open(self.pid)
        ended, _, _ = select.select([fd], [], [], within)
        os.close(fd)
        if not ended:
            raise TimeoutError(f"waited {within:g} s for the end of {self._process.args}")

    def _read(self) -> None:
        """Read all the time: a full pipe would change what is measured."""
        for block in iter(self._process.stderr.read1, b""):  # type: ignore[union-attr]
            with self._has_more:
                self._said += block
                self._has_more.notify_all()


def machine() -> dict[str, object]:
    """Say when and on what: figures of another machine are not to be compared."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = ".".join(platform.release().split(".")[:2])
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {release}",
        "load_before": round(os.getloadavg()[0], 1),
        "versions": list(versions()),
    }


def versions() -> Iterator[str]:
    """Say what was measured, on what."""
    uname = platform.uname()
    yield f"{platform.python_implementation()} {platform.python_version()}, Linux {uname.release}"
    yield f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}"
    for package in ("srvinit", "structlog", "gunicorn", "uvicorn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{package} {importlib.metadata.version(package)}"
    for name in ("tini", "dumb-init", "catatonit", "node", "wrk", "cc"):
        if not installed(name):
            yield f"{name} is not installed"
            continue
        said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        yield f"{name} {number[0] if number else '(no version)'}"
