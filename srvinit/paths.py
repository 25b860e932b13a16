"""Watches the paths of recycle.watch, and tells when one of them has changed and is quiet again.

Asleep until the kernel says that something happened near one of them: most of that is foreign, and
is told from a change by looking at what the path leads to. What has changed is told once it has
been the same for a second: whoever writes several files, or one in pieces, causes one recycle.

Where the kernel tells nobody, it is looked at every ten seconds; the log says so.
"""

from __future__ import annotations

import time

from srvinit.kernel import changes
from srvinit.lifecycle import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from srvinit.watch import Emit

QUIET_S = 1.0
POLL_S = 10.0
# Near a busy directory (/tmp) something happens all the time: looking takes so much of it at most.
LOOK_PAUSE_S = 0.1
LOOK_SHARE = 0.02
# A path that is never quiet (a log, say) is told of once after so long.
RESTLESS_S = 60.0


class _Path:
    """One path: what its workers know of it, and what it was when it was last looked at."""

    __slots__ = ("differs_from", "is_told", "known", "name", "path", "seen", "seen_from")

    def __init__(self, name: str, path: str) -> None:
        self.name = name  # as the setting has it
        self.path = path  # absolute
        self.known: changes.Identity | None = None
        self.seen: changes.Identity | None = None
        self.seen_from = 0.0  # since when it has been that
        self.differs_from: float | None = None  # since when it has been anything but what is known
        self.is_told = False  # that it is not there, or never quiet


class Paths:
    """The paths that are watched. `home` is the directory that relative ones begin in."""

    def __init__(self, emit: Emit, home: str) -> None:
        self._emit = emit
        self._home = home.rstrip("/")
        self._paths: dict[str, _Path] = {}
        self._bells = changes.Bells()
        self._look_at: float | None = None
        self._not_before = 0.0
        self._silence_told: set[str] = set()

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors, which are srvinit's own."""
        return self._bells.fds

    def watch(self, names: tuple[str, ...]) -> None:
        """Watch these from now on, and nothing else: all workers are to be started anew.

        Nothing if there are none. Whoever is started from here on knows what is there now.
        """
        known = self._paths
        self._paths = {}
        for name in names:
            path = name if name.startswith("/") else f"{self._home}/{name}"
            self._paths[name] = watched = known.get(name) or _Path(name, path)
            watched.known = watched.seen = changes.follow(path).identity
            watched.differs_from = None
        self._look(time.monotonic())

    def mark_changed(self, names: Collection[str]) -> None:
        """Take it that these have changed since the first workers were started."""
        for name in names:
            if name in self._paths:
                self._paths[name].known = None
                self._look_at = 0.0

    def wake(self) -> None:
        """Take it that something has happened to one of them."""
        soon = max(time.monotonic(), self._not_before)
        self._look_at = soon if self._look_at is None else min(soon, self._look_at)

    def due(self) -> float | None:
        """Say when `collect` is worth a call; None: when something wakes us."""
        return self._look_at

    def collect(self) -> Iterator[events.Event]:
        """Yield PathsChanged for those that have changed and are quiet again."""
        now = time.monotonic()
        if self._look_at is None or now < self._look_at:
            return
        changed = self._look(now)
        if changed:
            yield events.PathsChanged(changed)

    def _look(self, now: float) -> list[str]:
        """Look at all of them; return the names of those that have changed for good."""
        self._look_at = None
        refused = self._bells.hang([changes.follow(it.path) for it in self._paths.values()])
        # What happened after they were followed and before the bells hung rang for nobody.
        ways = {name: changes.follow(watched.path) for name, watched in self._paths.items()}
        changed = [name for name, way in ways.items() if self._judge(name, way.identity, now)]
        restless = [it for it in self._paths.values() if it.differs_from is not None]
        again = [it.seen_from + QUIET_S for it in restless]
        if self._find_silence(ways, refused):
            again.append(now + POLL_S)
        self._look_at = min(again, default=None)
        done = time.monotonic()
        self._not_before = done + max(LOOK_PAUSE_S, (done - now) / LOOK_SHARE)
        return changed

    def _judge(self, name: str, identity: changes.Identity | None, now: float) -> bool:
        """Say whether a path has changed, and has been quiet for long enough."""
        watched = self._paths[name]
        if identity != watched.seen:
            watched.seen, watched.seen_from = identity, now
        if identity is None or identity == watched.known:
            if identity is None and not watched.is_told:
                self._emit("watch.missing", {"path": name})
            watched.is_told = identity is None
            watched.differs_from = None
            return False
        if watched.differs_from is None:
            watched.differs_from = watched.seen_from = now
            watched.is_told = False
        if now - watched.seen_from >= QUIET_S:
            watched.known, watched.differs_from = identity, None
            return True
        seconds = now - watched.differs_from
        if seconds > RESTLESS_S and not watched.is_told:
            watched.is_told = True
            self._emit("watch.restless", {"path": name, "seconds": round(seconds, 3)})
        return False

    def _find_silence(self, ways: Mapping[str, changes.Way], refused: Mapping[str, str]) -> bool:
        """Find out whether the kernel tells us nothing somewhere; say so, once for each place."""
        silent = dict(refused)
        for name, way in ways.items():
            why = changes.why_silent(way)
            if why:
                silent[name] = why
        for path in silent.keys() - self._silence_told:
            said = {"path": path, "why": silent[path], "retry_s": POLL_S}
            self._emit("watch.polled", said)
        self._silence_told |= silent.keys()
        return bool(silent)
