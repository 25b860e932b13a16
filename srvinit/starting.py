"""How a worker is started, and a run of srvinit up to its first workers.

Those are started before the loop and the core are imported, which would take a third of the time
until they run. Nothing is decided by that: the core's first orders are to start just these, one in
each slot, whatever the settings are (tests/simulated.py holds it to that, in each of its runs). So
the orders are carried out ahead, and what came of them is kept until they are given.
"""

from __future__ import annotations

import posix

from srvinit import STATUS_FD, STATUS_NAME
from srvinit.errors import LACKS, KernelRefused
from srvinit.kernel import descriptors, signals, spawn
from srvinit.listening import Listening
from srvinit.setup import check_descriptors, worker_count
from srvinit.telling import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.kernel.exec import Failed
    from srvinit.kernel.notify import NotifySocket
    from srvinit.kernel.readiness import ListenProbe
    from srvinit.options import Options
    from srvinit.orphans import Orphans
    from srvinit.setup import Setup
    from srvinit.watch import Emit

STATUS_OF_OUR_FAULT = 1


def first_orders(count: int, *, is_swapped: bool) -> list[tuple[int, int, int]]:
    """List slot, generation and seat of the workers that the core has started at first.

    `is_swapped`: they share a seat (bind.mode=swapped, and the kernel can be steered).
    """
    return [(number, 1, 0 if is_swapped else number) for number in range(count)]


class Running:
    """What is held of a worker's process until it is reaped."""

    __slots__ = (
        "exec_fd",
        "failed",
        "is_killed",
        "notify",
        "pid",
        "probe",
        "refusals",
        "require",
    )

    def __init__(
        self,
        pid: int,
        exec_fd: int,
        require: str,
        notify: NotifySocket | None = None,
        probe: ListenProbe | None = None,
    ) -> None:
        self.pid = pid
        self.probe = probe  # where `require` is listen
        self.exec_fd = exec_fd  # -1 once it has told what became of the exec
        self.require = require
        self.notify = notify
        self.failed: Failed | None = None  # why there was no exec
        self.is_killed = False  # by srvinit
        self.refusals = 0  # messages that were not believed

    @property
    def own_fds(self) -> list[int]:
        """The descriptors that are srvinit's alone, of one that was just started."""
        return [self.exec_fd] if self.notify is None else [self.exec_fd, self.notify.fd]


class Starter:
    """Starts workers, as the settings that were prepared have it."""

    def __init__(self, setup: Setup, listening: Listening, emit: Emit) -> None:
        self._setup = setup
        self._listening = listening
        self._emit = emit

    def prepare(self, options: Options) -> None:
        """Make ready what the settings ask for, before any worker is started under them."""
        self.launch = self._setup.launch(options)
        self._require = options.worker_require
        if self._require == "listen":
            from srvinit.kernel.readiness import why_hidden

            why = why_hidden()
            if why is not None:
                # Serving with a weaker gate beats not serving, as long as it is said.
                self._emit("readiness.hidden", {"why": why})
                self._require = "online"

    def start(
        self, place: tuple[int, int], generation: int, count: int, own_fds: tuple[int, ...]
    ) -> Running:
        """Start a worker in `place`, which is a slot and a seat, as one of `count`.

        `own_fds` are srvinit's own besides the sockets: a callable's child closes them. Raises
        KernelRefused or one of LACKS where there is no worker; nothing is left of it then.
        """
        slot, seat = place
        notify = probe = None
        try:
            if self._require == "notify":
                from srvinit.kernel.notify import NotifySocket

                notify = NotifySocket()
            path = None if notify is None else notify.path
            self._setup.fit(self.launch, count, self._listening.sockets(seat))
            if self._require == "listen":
                from srvinit.kernel.readiness import ListenProbe

                probe = ListenProbe(self._listening.inodes(seat))
            own = (*own_fds, *self._listening.other_fds(seat))
            child = spawn.spawn(self.launch, slot, generation, path, own)
        except (KernelRefused, *LACKS):
            if notify is not None:
                notify.close()
            raise
        return Running(child.pid, child.exec_fd, self._require, notify, probe)


class Start:
    """A run of srvinit up to its first workers; the supervisor goes on from there."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.telling = Telling(setup)
        self.listening = Listening(self.telling.emit)
        self.starter = Starter(setup, self.listening, self.telling.emit)
        self.count = 0  # worker.count, worked out
        self.orphans: Orphans
        # What came of the first orders, until they are given.
        self._ahead: dict[tuple[int, int, int], Running | Exception] = {}

    def open(self) -> None:
        """Open the sockets and prepare the workers.

        Raises UsageError if the settings ask for what this machine does not have, KernelRefused
        for a socket.
        """
        options = self.setup.options
        self.count, why = worker_count(options)
        check_descriptors(options, self.count)
        self.telling.count = self.count, why
        # Before a socket gets its number.
        self.telling.reserved_fd = descriptors.reserve(STATUS_NAME, STATUS_FD)
        self.listening.open(options, self.setup.inherited, self.count)
        self.starter.prepare(options)

    def start_ahead(self) -> None:
        """Carry the core's first orders out."""
        own_fds = [self.telling.reserved_fd]
        is_steered = self.listening.seating is not None
        is_swapped = is_steered and self.setup.options.bind_mode == "swapped"
        for order in first_orders(self.count, is_swapped=is_swapped):
            slot, generation, seat = order
            try:
                running = self.starter.start((slot, seat), generation, self.count, (*own_fds,))
            except (KernelRefused, *LACKS) as refused:
                self._ahead[order] = refused
            else:
                self._ahead[order] = running
                own_fds += running.own_fds
        posix.sched_yield()  # who is queued behind us on our CPU goes first

    def take(self, slot: int, generation: int, seat: int) -> Running | None:
        """Hand over what was started ahead of this order, if it was; raise what prevented it."""
        ahead = self._ahead.pop((slot, generation, seat), None)
        if isinstance(ahead, Exception):
            raise ahead
        return ahead

    def adopt(self) -> None:
        """Have orphans come here from now on: before a worker has got so far as to leave any."""
        from srvinit.orphans import Orphans

        self.orphans = Orphans(self.listening, self.telling.emit)
        self.orphans.adopt()

    def abandon(self) -> None:
        """Kill those that nobody took over: they must not outlive srvinit."""
        for ahead in self._ahead.values():
            if isinstance(ahead, Running):
                signals.send_group(ahead.pid, "KILL")


def run(setup: Setup) -> int:
    """Run srvinit as it is set up; return its exit status."""
    start = Start(setup)
    status = STATUS_OF_OUR_FAULT
    try:
        status = _run(start)
    finally:
        try:
            from srvinit.report import termination

            termination.end(start.telling.log, status, termination.path_from(setup.environ))
        except LACKS:
            pass  # the last words are lost: how srvinit ends does not depend on them
    return status


def _run(start: Start) -> int:
    try:
        start.open()
    except KernelRefused as refused:
        start.telling.emit("socket.failed", {"address": refused.what, "error": str(refused)})
        start.telling.emit_exit(STATUS_OF_OUR_FAULT, "a socket cannot be had")
        return STATUS_OF_OUR_FAULT
    start.start_ahead()
    try:
        start.adopt()
        from srvinit.supervisor import Supervisor

        return Supervisor(start).run()
    finally:
        start.abandon()
