"""Orphans: processes that are no workers, and whose end srvinit has to see to all the same.

As PID 1 it signals every process of its namespace, as a subreaper those that it has adopted. As an
ordinary process it has none, and signals nothing that it did not start.
"""

from __future__ import annotations

import posix

from srvinit.errors import KernelRefused
from srvinit.kernel import reap, signals


class Orphans:
    """The sweep at the end. All workers are gone by then, or cannot be ended."""

    def __init__(self) -> None:
        self._is_init = posix.getpid() == 1
        self._is_subreaper = False
        self._signal = ""  # what the sweep sends; empty: there is no sweep
        self._reached: set[int] = set()

    def adopt(self) -> None:
        """Have orphans come here where srvinit is not PID 1. Costs an import: after the start."""
        if not self._is_init:
            self._is_subreaper = reap.become_subreaper()

    def sweep(self, name: str) -> bool:
        """Send every orphan a signal; True if there is none."""
        self._signal = name
        self._reached.clear()
        if self._is_init and reap.has_children():
            signals.kill_everything(name)
            signals.kill_everything("CONT")  # a stopped process would not see it
        return self.are_gone()

    def is_sweeping(self) -> bool:
        """Tell whether the sweep has begun and somebody was there."""
        return bool(self._signal)

    def are_gone(self) -> bool:
        """Tell whether nobody is left; signal those that were adopted since."""
        if not reap.has_children():
            self._signal = ""
            return True
        if self._is_subreaper:
            for pid in set(reap.children_of_self().pids) - self._reached:
                self._reached.add(pid)
                try:
                    signals.send(pid, self._signal)
                    signals.send(pid, "CONT")
                except KernelRefused:  # EPERM: it has another user's identity, and outlives us
                    continue
        return False
