"""The servers that run as workers: how each takes fd 3, how it is stopped, what it may lose.

Ten recycles of two workers are twenty stops. `lost_new` and `lost_kept` bound what those may cost.
They are not srvinit's: with one shared queue a server can be stopped between its accept and its
read, and one that closes its idle connections can do so while a request is on its way. Where a
server's own shutdown leaves no such gap the bound for new connections is 0; elsewhere it is three
times what was measured with a parent that does nothing but fork and signal, since single numbers
below ten are chance within a factor of two.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from collections.abc import Callable

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Place:
    """Where a server is to run: its address, and a folder for its files."""

    address: str
    folder: Path


@dataclass(frozen=True)
class Kind:
    """One kind of server. `statuses` are its workers' exits: negative is a signal's number."""

    name: str
    command: Callable[[Place], list[str]]
    version: Callable[[], str]
    options: tuple[str, ...] = ()
    statuses: frozenset[int] = frozenset({0})
    lost_new: int = 0
    lost_kept: int = 0
    pid1: bool = False


def _package(name: str) -> Callable[[], str]:
    def version() -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            harness.missing(name)

    return version


def _says(*command: str) -> Callable[[], str]:
    """Return the first number with dots in what a program says about its version."""

    def version() -> str:
        found = [harness.program(command[0]), *command[1:]]
        said = subprocess.run(found, check=True, capture_output=True, text=True, timeout=60)
        number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        return number[0] if number else "unknown"

    return version


def _python(*arguments: str) -> Callable[[Place], list[str]]:
    return lambda _place: [sys.executable, *arguments]


def _gunicorn(*arguments: str) -> Callable[[Place], list[str]]:
    return _python("-m", "gunicorn", "--log-level=warning", *arguments, "wsgi:app")


def _node(_place: Place) -> list[str]:
    return [harness.program("node"), "server.js"]


def _nginx(place: Place) -> list[str]:
    """Fill in the configuration; each of the two masters needs a pid file of its own."""
    text = (SERVERS / "nginx.conf").read_text()
    text = text.replace("ADDRESS", place.address).replace("FOLDER", str(place.folder))
    (place.folder / "nginx.conf").write_text(text)
    start = 'exec "$0" -p "$1" -c nginx.conf -g "pid $1/$$.pid;"'
    return ["sh", "-c", start, harness.program("nginx"), str(place.folder)]


def _puma(place: Place) -> list[str]:
    listen = f"tcp://{place.address}"
    return [harness.program("puma"), "-e", "production", "-t", "4:4", "-b", listen, "config.ru"]


def _unicorn(place: Place) -> list[str]:
    start = ["env", f"ADDRESS={place.address}", harness.program("unicorn")]
    return [*start, "-E", "none", "-c", "unicorn.rb", "config.ru"]


def _go(place: Place) -> list[str]:
    """Build the program, with the standard library alone and no network."""
    binary = place.folder / "server"
    environ = {"GO111MODULE": "off", "GOCACHE": str(place.folder / "cache"), "GOFLAGS": ""}
    build = [harness.program("go"), "build", "-o", str(binary), str(SERVERS / "main.go")]
    subprocess.run(build, check=True, env=harness.clean_environ() | environ, timeout=300)
    return [str(binary)]


KINDS = (
    Kind("gunicorn sync", _gunicorn(), _package("gunicorn"), lost_kept=2),
    Kind("gunicorn sync, as PID 1", _gunicorn(), _package("gunicorn"), lost_kept=2, pid1=True),
    Kind("gunicorn gthread", _gunicorn("--threads=4"), _package("gunicorn"), lost_kept=2),
    Kind(
        "uvicorn",
        _python("-m", "uvicorn", "--fd=3", "--log-level=warning", "asgi:app"),
        _package("uvicorn"),
        statuses=frozenset({-15}),
        lost_new=12,
        lost_kept=12,
    ),
    Kind("aiohttp", _python("aiohttp_server.py"), _package("aiohttp"), lost_new=6, lost_kept=24),
    Kind("node http", _node, _says("node", "--version"), lost_kept=9),
    Kind("Go net/http", _go, _says("go", "version"), lost_kept=12),
    Kind(
        "nginx",
        _nginx,
        _says("nginx", "-v"),
        options=("--worker-stop-signal=QUIT", "--worker-env=NGINX=3;"),
        lost_kept=9,
    ),
    Kind(
        "puma",
        _puma,
        _says("puma", "--version"),
        statuses=frozenset({-15}),
        lost_new=15,
        lost_kept=6,
    ),
    Kind(
        "unicorn",
        _unicorn,
        _says("unicorn", "--version"),
        options=("--worker-stop-signal=QUIT",),
        lost_kept=2,
    ),
    Kind(
        "a bare accept loop",
        _python("accept_loop.py"),
        lambda: f"Python {sys.version.split()[0]}",
        statuses=frozenset({-15}),
        lost_new=27,
        lost_kept=27,  # it closes each connection, so every kept client's is a new one, too
    ),
)
