"""Job control for a single worker on a terminal, as the user of a shell expects it.

Who has the foreground follows from worker.ignore_sigint. False: the worker, from its start, and
Ctrl-C is its business, as under a plain init. True: srvinit, so that Ctrl-C reaches it alone; a
worker that then wants the terminal (a shell, say) is stopped by the kernel for it, and gets it.
"""

from __future__ import annotations

from srvinit.kernel import reap, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from srvinit.kernel.terminal import Terminal

WANTS_TERMINAL = {"TTIN", "TTOU"}


class JobControl:
    """What is done about the terminal when the worker starts, stops, ends; and at srvinit's end."""

    def __init__(self, terminal: Terminal, *, worker_goes_first: bool) -> None:
        self._terminal = terminal
        self._worker_goes_first = worker_goes_first
        terminal.save_settings()

    @property
    def launch_fd(self) -> int | None:
        """The terminal whose foreground a new worker takes by itself, if it shall."""
        return self._terminal.fd if self._worker_goes_first and self._terminal.is_ours() else None

    def note_start(self, pid: int) -> None:
        """Remember a worker that was started, and may have taken the foreground."""
        if self._worker_goes_first:
            self._terminal.note_lent(pid)

    def note_end(self) -> None:
        """Take the foreground back from a worker that has ended."""
        self._terminal.take_back()

    def has_terminal(self, pid: int) -> bool:
        """Say whether this worker is in the foreground."""
        return self._terminal.is_lent_to(pid)

    def is_hangup(self, sender_pid: int, *, from_terminal: bool) -> bool:
        """Say whether a HUP tells that the terminal is gone."""
        return self._terminal.is_hangup(sender_pid, from_terminal=from_terminal)

    def judge_stops(self, running: Container[int]) -> None:
        """Answer for each worker that was stopped: by the terminal, or by Ctrl-Z."""
        while (stopped := reap.take_stopped()) is not None:
            if stopped.pid not in running or stopped.number == 0:
                continue
            name = signals.name_of(stopped.number)
            if name in WANTS_TERMINAL and self._terminal.lend(stopped.pid):
                signals.send_group(stopped.pid, "CONT")
            elif name in WANTS_TERMINAL and self._terminal.can_suspend():
                self.suspend(stopped.pid)  # a shell has us in the background: it shows why
            elif name == "TSTP" and self._terminal.is_lent_to(stopped.pid):
                self.suspend(stopped.pid)

    def suspend(self, pid: int | None) -> None:
        """Stop srvinit along with its worker, as one job; go on with it when continued.

        Where nobody could continue srvinit (it is PID 1, or leads the session) the worker goes on
        at once, as the kernel has it for a group without a parent to look after it.
        """
        if self._terminal.can_suspend():
            self._terminal.take_back()
            if self._terminal.suspend() and pid is not None:
                self._terminal.lend(pid)
        if pid is not None:
            signals.send_group(pid, "CONT")

    def end(self) -> None:
        """Leave the terminal as it was found."""
        self._terminal.take_back()
        self._terminal.restore_settings()
        self._terminal.close()
