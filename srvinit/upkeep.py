"""What is looked after once the first workers run: who was killed for lack of memory, what changes.

Nothing here is needed to start, so nothing here is imported before. What no setting asks for is
never imported. What the loop may need all of a sudden is imported here and now: when there is no
descriptor left, no module can be loaded.
"""

from __future__ import annotations

import _signal

from srvinit import words
from srvinit.errors import LACKS
from srvinit.kernel import exec_words, memcg  # noqa: F401  the words of an exec that failed
from srvinit.setup import glance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from srvinit.lifecycle.events import Event
    from srvinit.options import Options
    from srvinit.paths import Paths
    from srvinit.setup import Setup
    from srvinit.sizes import Sizes
    from srvinit.watch import Emit


class Upkeep:
    """Made when the first workers run; `configure` says what is to be looked after."""

    def __init__(self, emit: Emit, setup: Setup, options: Options) -> None:
        self._emit = emit
        self._home = setup.home()
        self._paths: Paths | None = None
        self._oom = memcg.OomCounter()
        self._sizes: Sizes | None = None
        self._is_blind = False  # it was said that sizes cannot be seen
        path = memcg.shared_fate()
        if path is not None:
            emit("memory.fate_shared", {"path": path})
        self._first_sight = setup.first_sight
        if options.bind_mode != "shared":
            from srvinit.kernel import door, ordering, queues  # noqa: F401
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Take up settings; what they leave as it was goes on."""
        try:
            self._watch_paths(options.recycle_watch)
            self._watch_sizes(options)
            if options.worker_max_age or options.worker_max_memory:
                from srvinit.lifecycle import renewal  # noqa: F401  when it is wanted it is there
        except LACKS as lack:
            self._emit("kernel.refused", {"error": f"recycling by itself is off: {lack!r}"})

    def _watch_sizes(self, options: Options) -> None:
        limit = self._most_memory(options)
        if limit is None:
            self._sizes = None
        elif self._sizes is None or self._sizes.limit != limit:
            from srvinit.sizes import Sizes

            self._sizes = Sizes(limit)

    def _watch_paths(self, names: tuple[str, ...]) -> None:
        if self._paths is None and names:
            from srvinit.paths import Paths

            self._paths = Paths(self._emit, self._home)
            self._paths.watch(names)
            first = self._first_sight.items()
            self._paths.mark_changed([name for name, seen in first if seen != glance(name)])
        elif self._paths is not None:
            self._paths.watch(names)

    @property
    def own_fds(self) -> tuple[int, ...]:
        """The descriptors that are srvinit's alone: a callable's child closes them."""
        return () if self._paths is None else self._paths.fds

    def end(self) -> None:
        """Have nothing wake this process any more."""
        if self._paths is not None:
            self._paths.watch(())

    def wake(self) -> None:
        """Take it that a descriptor has woken srvinit: it may have been one of these."""
        if self._paths is not None:
            self._paths.wake()

    def dues(self) -> list[float | None]:
        """Say when `collect` is worth a call though no signal came; None: never."""
        paths, sizes = self._paths, self._sizes
        return [None if paths is None else paths.due(), None if sizes is None else sizes.due]

    def collect(self, pids: Collection[int]) -> Iterator[Event]:
        """Yield what has become known; `pids` are those of the workers."""
        if self._paths is not None:
            yield from self._paths.collect()
        if self._sizes is None:
            return
        try:
            yield from self._sizes.look(pids)
        except OSError as error:  # ENOENT, EACCES: no /proc for us. EMFILE, ENFILE: not now
            if not self._is_blind:
                self._is_blind = True
                self._emit("memory.unseen", {"why": f"/proc cannot be read ({error.strerror})"})

    def oom_why(self, pid: int, status: int) -> str | None:
        """Say in words that the kernel killed a worker for lack of memory; None: it did not.

        `status` is the raw wait status of one that srvinit did not kill.
        """
        if words.exit_code(status) != -_signal.SIGKILL or not self._oom.has_risen():
            return None
        limit = memcg.tightest_limit()
        which = "the machine's: no limit is set here"
        if limit is not None:
            which = f"limit {words.size(limit.size)}, {limit.path}"
        known = self._sizes.known.get(pid) if self._sizes else None
        had = f"; it had {words.size(known)} when last looked at" if known else ""
        return f"killed by the kernel: out of memory ({which}{had})"

    def _most_memory(self, options: Options) -> int | None:
        """Work worker.max_memory out in bytes; None: it is off, or means nothing here."""
        most = options.worker_max_memory
        if most is None or not most.is_percentage:
            return None if most is None else most.amount
        limit = memcg.tightest_limit()
        if limit is None:
            self._emit("memory.unseen", {"why": f"{most} of what? No memory limit is set here"})
            return None
        return most.of(limit.size)
