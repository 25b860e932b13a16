"""The servers that run as workers: what each is to serve, and what it may lose.

How each takes fd 3 and how it is stopped is README.md's to say: its recipes are what runs here,
word for word but for the port.

Ten recycles of two workers are twenty stops. What those may cost is not srvinit's but the server's,
and comes in two kinds (interop measurements, with a parent that only forks and signals):

    ACCEPT_RACE  it is stopped between its accept and its read: a new connection is cut. Measured
                 1 to 9 in twenty stops, and once, with the CPU short, all eight clients in one;
                 bounded at two a stop.
    IDLE_RACE    it closes the idle connections of kept clients, and a request is on its way.
                 Measured 0 to 26, and 65 where the CPU was short; bounded at six a stop, of eight
                 kept clients.

A server without such a gap has 0 for new connections: there each loss would be srvinit's. In
steered mode (bind.mode) that is so for all, whatever the server does; the second kind remains.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import readme

if TYPE_CHECKING:
    from collections.abc import Callable

STOPS = 20
ACCEPT_RACE = 2 * STOPS
IDLE_RACE = 6 * STOPS

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    `recipe` names its row in README.md; without one `command` calls srvinit.srv itself. `files`
    are put beside it, out of servers/; `build` makes what no file can be copied for. `more` and
    `environ` are what a test wants beyond the recipe. `statuses` are its workers' exits, negative
    for a signal's number. `lost_new`, `lost_kept`, `errors` (5xx) and `killed` (how many outstay
    recycle.timeout) are bounds for ten recycles.
    """

    name: str
    recipe: str
    version: Callable[[], str]
    files: tuple[tuple[str, str], ...] = ()
    build: Callable[[Path], None] | None = None
    more: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    statuses: frozenset[int] = frozenset({0})
    mode: str = "shared"
    lost_new: int = 0
    lost_kept: int = 0
    errors: int = 0
    killed: int = 0
    pid1: bool = False

    @property
    def test_id(self) -> str:
        """What a test of it is called."""
        return self.name if self.mode == "shared" else f"{self.name}, {self.mode}"

    def prepare(self, folder: Path, port: int) -> readme.Recipe:
        """Fill the folder, and return the recipe; both for this port."""
        for name, source in self.files:
            text = (SERVERS / source).read_text()
            (folder / name).write_text(text.replace(readme.PORT, str(port)))
            (folder / name).chmod(0o755)
        if self.build is not None:
            self.build(folder)
        if not self.recipe:
            return readme.Recipe([], [sys.executable, self.files[0][0]], [])
        found = readme.recipe(self.recipe, port)
        more = [word.replace("FOLDER", str(folder)) for word in self.more]
        return found._replace(command=[*found.command, *more])


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


def _go(folder: Path) -> None:
    """Build the program, with the standard library alone and no network."""
    environ = {"GO111MODULE": "off", "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    build = [harness.program("go"), "build", "-o", str(folder / "server"), str(SERVERS / "main.go")]
    subprocess.run(build, check=True, env=harness.clean_environ() | environ, timeout=300)


WSGI = (("app.py", "wsgi.py"),)
RACK = (("config.ru", "config.ru"), ("unicorn.rb", "unicorn.rb"))
IN_PRODUCTION = (("RACK_ENV", "production"),)

SHARED = (
    Kind("gunicorn sync", "gunicorn", _package("gunicorn"), WSGI),
    Kind("gunicorn sync, as PID 1", "gunicorn", _package("gunicorn"), WSGI, pid1=True),
    # its kept connections are closed between two requests, and only once it has looked
    Kind(
        "gunicorn gthread",
        "gunicorn",
        _package("gunicorn"),
        WSGI,
        more=("--threads", "4"),
        lost_kept=4,
    ),
    Kind(
        "uvicorn",
        "uvicorn",
        _package("uvicorn"),
        (("app.py", "asgi.py"),),
        environ=(("UVICORN_LOG_LEVEL", "warning"),),
        statuses=frozenset({-15}),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "aiohttp",
        "aiohttp",
        _package("aiohttp"),
        (("app.py", "aiohttp_server.py"),),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "hypercorn",
        "hypercorn",
        _package("hypercorn"),
        (("app.py", "asgi.py"),),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "tornado",
        "tornado",
        _package("tornado"),
        (("app.py", "tornado_server.py"),),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "waitress",
        "waitress",
        _package("waitress"),
        (("app.py", "waitress_server.py"), ("wsgi.py", "wsgi.py")),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind("node http", "node", _says("node", "--version"), (("server.js", "server.js"),)),
    Kind("Go net/http", "Go", _says("go", "version"), build=_go, lost_kept=IDLE_RACE),
    Kind(
        "nginx",
        "nginx",
        _says("nginx", "-v"),
        (("nginx.conf", "nginx.conf"),),
        more=("-p", "FOLDER", "-c", "nginx.conf"),
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "puma",
        "puma",
        _says("puma", "--version"),
        RACK,
        environ=IN_PRODUCTION,
        # 5.6 serves a kept connection on while its client is quick, now and then for over 15 s,
        # and now and then closes one that another thread reads from: a 500
        options=("--recycle-timeout=6s",),
        statuses=frozenset({-15, -9}),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
        errors=5,
        killed=STOPS,
    ),
    Kind("unicorn", "unicorn", _says("unicorn", "--version"), RACK, environ=IN_PRODUCTION),
    Kind(
        "a bare accept loop",
        "shell, anything",
        lambda: sys.version.split()[0],
        (("server", "accept_loop.py"),),
        statuses=frozenset({-15}),
        lost_new=ACCEPT_RACE,
        lost_kept=ACCEPT_RACE,  # it closes each connection: every kept client's is a new one, too
    ),
    Kind(
        "srvinit.srv, threading http.server",
        "",
        lambda: sys.version.split()[0],
        (("callable_worker.py", "callable_worker.py"),),
    ),
)

# What steering buys: the same servers once more, each worker with a socket of its own.
STEERED_TOO = (
    "uvicorn",
    "aiohttp",
    "hypercorn",
    "tornado",
    "waitress",
    "node http",
    "a bare accept loop",
)
STEERED = tuple(
    replace(
        kind,
        mode="steered",
        options=(*kind.options, "--bind-mode=steered"),
        lost_new=0,
        # A bare accept loop closes each connection: there its kept clients' are new ones, too.
        lost_kept=0 if kind.name == "a bare accept loop" else kind.lost_kept,
    )
    for kind in SHARED
    if kind.name in STEERED_TOO
)
KINDS = SHARED + STEERED
