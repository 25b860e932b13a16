"""Orphans: processes that are no workers, and whose end srvinit has to see to all the same.

As PID 1 it signals every process of its namespace, as a subreaper those that it has adopted. As an
ordinary process it has none, and signals nothing that it did not start. The endpoint's helper is a
child, and neither worker nor orphan: the sweep spares it, and ends it when nobody else is left.
"""

from __future__ import annotations

import posix

from srvinit.errors import KernelRefused
from srvinit.kernel import reap, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.listening import Listening
    from srvinit.watch import Emit


class Orphans:
    """The sweep at the end. All workers are gone by then, or cannot be ended."""

    def __init__(self, listening: Listening, emit: Emit) -> None:
        self._listening = listening  # has the endpoint, if there is one
        self._emit = emit
        self._is_init = posix.getpid() == 1
        self._is_subreaper = False
        self._signal = ""  # what the sweep sends; empty: there is no sweep
        self._reached: set[int] = set()

    def adopt(self) -> None:
        """Have orphans come here where srvinit is not PID 1. Costs an import: after the start."""
        if not self._is_init:
            self._is_subreaper = reap.become_subreaper()

    def bury(self, pid: int, status: int) -> None:
        """Reap a child that has ended and was no worker; `status` is raw, as of waitpid(2)."""
        from srvinit import words

        reap.reap(pid)
        endpoint = self._listening.endpoint
        if endpoint is None or not endpoint.note_end(pid, status):
            self._emit("orphan.reaped", {"pid": pid, "status": words.exit_code(status)})

    def sweep(self, name: str) -> bool:
        """Send every orphan a signal; True if there is none."""
        self._signal = name
        self._reached.clear()
        if name == "KILL":
            self._listening.end()  # it would get it too, and be started again
        if self._is_init and self._has_others():
            signals.kill_everything(name)
            signals.kill_everything("CONT")  # a stopped process would not see it
        return self.are_gone()

    def is_sweeping(self) -> bool:
        """Tell whether the sweep has begun and somebody was there."""
        return bool(self._signal)

    def are_gone(self) -> bool:
        """Tell whether nobody is left; signal those that were adopted since."""
        if not self._has_others():
            self._signal = ""
            return True
        if self._is_subreaper:
            helper = 0 if self._listening.endpoint is None else self._listening.endpoint.pid
            for pid in set(reap.children_of_self().pids) - self._reached - {helper}:
                self._reached.add(pid)
                try:
                    signals.send(pid, self._signal)
                    signals.send(pid, "CONT")
                except KernelRefused:  # EPERM: it has another user's identity, and outlives us
                    continue
        return False

    def _has_others(self) -> bool:
        """Tell whether there are children but the endpoint's helper; if not, that is ended too.

        A list of children may miss some (kernel/reap.py): with the helper gone, there is none or
        there is one.
        """
        endpoint = self._listening.endpoint
        if endpoint is not None and endpoint.pid:
            listed = reap.children_of_self()
            if listed.is_known and set(listed.pids) - {endpoint.pid}:
                return True
            endpoint.end()
        return reap.has_children()
