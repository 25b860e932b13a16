"""The servers that run as workers: how each takes fd 3, how it is stopped, what it may lose.

Ten recycles of two workers are twenty stops. What those may cost is not srvinit's but the server's,
and comes in two kinds (interop measurements, with a parent that only forks and signals):

    ACCEPT_RACE  it is stopped between its accept and its read: a new connection is cut. Measured
                 1 to 9 in twenty stops; bounded at one a stop.
    IDLE_RACE    it closes the idle connections of kept clients, and a request is on its way.
                 Measured 0 to 26, most where the CPU is short; bounded at two a stop, half of the
                 kept connections that a worker has here.

A server without such a gap has 0 for new connections: there each loss would be srvinit's.
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

STOPS = 20
ACCEPT_RACE = STOPS
IDLE_RACE = 2 * STOPS

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Place:
    """Where a server is to run: its address, and a folder for its files."""

    address: str
    folder: Path


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    `is_library`: the command calls srvinit.srv itself, and is no worker of the command line's.
    `statuses` are its workers' exits, negative for a signal's number. `lost_new`, `lost_kept` and
    `killed` (how many outstay recycle.timeout) are bounds for ten recycles.
    """

    name: str
    command: Callable[[Place], list[str]]
    version: Callable[[], str]
    options: tuple[str, ...] = ()
    statuses: frozenset[int] = frozenset({0})
    lost_new: int = 0
    lost_kept: int = 0
    killed: int = 0
    pid1: bool = False
    is_library: bool = False


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
    """Fill in the configuration, and set O_NONBLOCK, which nginx does not on a socket it inherits.

    Without it two workers that wake for one connection both accept, and one waits in accept4 for
    the next one, deaf to its kept connections and to QUIT: 1 in 9 shutdowns hung (nginx 1.22.1).
    The shell names a pid file for each of the two masters.
    """
    text = (SERVERS / "nginx.conf").read_text()
    text = text.replace("ADDRESS", place.address).replace("FOLDER", str(place.folder))
    (place.folder / "nginx.conf").write_text(text)
    prelude = "import os, sys; os.set_blocking(3, False); os.execvp(sys.argv[1], sys.argv[1:])"
    start = 'exec "$0" -p "$1" -c nginx.conf -g "pid $1/$$.pid;"'
    shell = ["sh", "-c", start, harness.program("nginx"), str(place.folder)]
    return [sys.executable, "-c", prelude, *shell]


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
    Kind("gunicorn sync", _gunicorn(), _package("gunicorn")),
    Kind("gunicorn sync, as PID 1", _gunicorn(), _package("gunicorn"), pid1=True),
    # its kept connections are closed between two requests, and only once it has looked
    Kind("gunicorn gthread", _gunicorn("--threads=4"), _package("gunicorn"), lost_kept=4),
    Kind(
        "uvicorn",
        _python("-m", "uvicorn", "--fd=3", "--log-level=warning", "asgi:app"),
        _package("uvicorn"),
        statuses=frozenset({-15}),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "aiohttp",
        _python("aiohttp_server.py"),
        _package("aiohttp"),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind("node http", _node, _says("node", "--version"), lost_kept=IDLE_RACE),
    Kind("Go net/http", _go, _says("go", "version"), lost_kept=IDLE_RACE),
    Kind(
        "nginx",
        _nginx,
        _says("nginx", "-v"),
        options=("--worker-stop-signal=QUIT", "--worker-env=NGINX=3;"),
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "puma",
        _puma,
        _says("puma", "--version"),
        # 5.6 serves a kept connection on while its client is quick, now and then for over 15 s
        options=("--recycle-timeout=6s",),
        statuses=frozenset({-15, -9}),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
        killed=5,
    ),
    Kind(
        "unicorn",
        _unicorn,
        _says("unicorn", "--version"),
        options=("--worker-stop-signal=QUIT",),
    ),
    Kind(
        "a bare accept loop",
        _python("accept_loop.py"),
        lambda: sys.version.split()[0],
        statuses=frozenset({-15}),
        lost_new=ACCEPT_RACE,
        lost_kept=ACCEPT_RACE,  # it closes each connection: every kept client's is a new one, too
    ),
    Kind(
        "srvinit.srv, threading http.server",
        lambda place: [sys.executable, "callable_worker.py", place.address],
        lambda: sys.version.split()[0],
        is_library=True,
    ),
)
