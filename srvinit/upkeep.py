"""What is known of memory, once the first workers run: who was killed for the lack of it.

Nothing here is needed to start, so nothing here is imported before.
"""

from __future__ import annotations

import _signal

from srvinit import words
from srvinit.kernel import memcg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Emit = Callable[[str, dict[str, Any]], None]


class Upkeep:
    """Made when the first workers run."""

    def __init__(self, emit: Emit) -> None:
        self._oom = memcg.OomCounter()
        path = memcg.shared_fate()
        if path is not None:
            emit("memory.fate_shared", {"path": path})

    def oom_why(self, status: int) -> str | None:
        """Say in words that the kernel killed a worker for lack of memory; None: it did not.

        `status` is the raw wait status of one that srvinit did not kill.
        """
        if words.exit_code(status) != -_signal.SIGKILL or not self._oom.has_risen():
            return None
        limit = memcg.tightest_limit()
        if limit is None:
            return "killed by the kernel: out of memory (the machine's: no limit is set here)"
        return f"killed by the kernel: out of memory (limit {words.size(limit.size)}, {limit.path})"
