"""A kind of server that runs as a worker: what it is given, and what it may lose.

How it takes fd 3 and how it is stopped is docs/recipes.md's to say: its recipes are what runs
here, word for word but for the port.

What a stop may cost is not srvinit's but the server's, and comes in two kinds (interop
measurements, with a parent that only forks and signals):

    ACCEPT_RACE  it is stopped between its accept and its read: a new connection is cut. Measured
                 1 to 9 in twenty stops, and once, with the CPU short, all eight clients in one;
                 bounded at two a stop.
    IDLE_RACE    it closes the idle connections of kept clients, and a request is on its way.
                 Measured 0 to 26 in twenty stops, and 65 with the CPU short; bounded at six of
                 the eight kept clients a stop.

A server without such a gap has 0 for new connections: there each loss would be srvinit's. In
steered mode (bind.mode) that is so for all that read within worker.quiesce; the second kind
remains.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import readme

if TYPE_CHECKING:
    from collections.abc import Callable

ACCEPT_RACE = 2
IDLE_RACE = 6

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    `recipe` is its heading in docs/recipes.md. `files` are put beside it, out of servers/; `build`
    makes what no file can be copied for, out of `sources`. `more`, `options` and `environ` are
    what a test wants beyond the recipe. `statuses` are its workers' exits, negative for a signal's
    number. `lost_new`, `lost_kept`, `errors` (5xx) and `killed` (how many outstay recycle.timeout)
    are bounds for one stop. `front` is the file of an nginx that stands before a server which
    speaks no HTTP. `ci` says that CI has its program; `make interop` runs all.
    """

    recipe: str
    version: Callable[[], str]
    files: tuple[tuple[str, str], ...] = ()
    build: Callable[[Path], None] | None = None
    sources: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    statuses: frozenset[int] = frozenset({0})
    mode: str = "shared"
    lost_new: int = 0
    lost_kept: int = 0
    errors: int = 0
    killed: int = 0
    front: str = ""
    pid1: bool = False
    ci: bool = True
    closes_each: bool = False  # keeps no connection
    tells_pid: bool = True  # in its answers
    gap: bool = False  # now and then nobody listens

    @property
    def name(self) -> str:
        """What its row in a table is called."""
        return f"{self.recipe}, as PID 1" if self.pid1 else self.recipe

    @property
    def workers(self) -> int:
        """How many run; one whose successor cannot listen beside it is alone."""
        return 1 if self.gap else 2

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
        found = readme.recipe(self.recipe, port)
        more = [word.replace("FOLDER", str(folder)) for word in self.more]
        return found._replace(command=[*found.command, *more])

    def steered(self, *, ci: bool) -> Kind:
        """Return the same, each worker with a queue of its own: no new connection is lost."""
        return replace(
            self,
            mode="steered",
            options=(*self.options, "--bind-mode=steered"),
            ci=ci,
            lost_new=0,
            lost_kept=0 if self.closes_each else self.lost_kept,
        )


def path_of_workers(folder: Path) -> str:
    """Return the PATH: this Python's programs, the folder's own, and those of the system."""
    own = [str(Path(sys.executable).parent), str(folder / "bin")]
    return os.pathsep.join([*own, os.environ["PATH"], "/usr/sbin"])
