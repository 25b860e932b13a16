"""What is looked after once the first workers run: who was killed for lack of memory, who is large.

Nothing here is needed to start, so nothing here is imported before. What no setting asks for is
never imported.
"""

from __future__ import annotations

import _signal

from srvinit import words
from srvinit.kernel import memcg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from srvinit.lifecycle.events import Event
    from srvinit.options import Options
    from srvinit.sizes import Sizes

    Emit = Callable[[str, dict[str, Any]], None]


class Upkeep:
    """Made when the first workers run; `configure` says what is to be looked after."""

    def __init__(self, emit: Emit, options: Options) -> None:
        self._emit = emit
        self._oom = memcg.OomCounter()
        self._sizes: Sizes | None = None
        path = memcg.shared_fate()
        if path is not None:
            emit("memory.fate_shared", {"path": path})
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Take up settings; what they leave as it was goes on."""
        limit = self._most_memory(options)
        if limit is None:
            self._sizes = None
        elif self._sizes is None or self._sizes.limit != limit:
            from srvinit.sizes import Sizes

            self._sizes = Sizes(limit)

    def due(self) -> float | None:
        """Say when `collect` is worth a call though no signal came; None: never."""
        return None if self._sizes is None else self._sizes.due

    def collect(self, pids: Collection[int]) -> Iterator[Event]:
        """Yield what has become known; `pids` are those of the workers."""
        if self._sizes is None:
            return
        try:
            yield from self._sizes.look(pids)
        except OSError as error:  # ENOENT: /proc is not there (any more). EACCES: not for us
            self._emit("memory.unseen", {"why": f"/proc cannot be read ({error.strerror})"})
            self._sizes = None

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
