"""What the supervisor learns about living workers, beside signals and exits.

Exec pipes and notify sockets wake the loop by themselves (SIGIO). Whether somebody accepts from a
socket, and whether its queue is empty, the kernel tells nobody: both are looked at, and only while
it matters. A quiet srvinit has nothing due here, and sleeps.
"""

from __future__ import annotations

import time

from srvinit.kernel import descriptors, signals
from srvinit.kernel import exec as execing
from srvinit.lifecycle import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterator
    from typing import Any

    from srvinit.backlogs import Backlogs
    from srvinit.kernel.notify import Notice
    from srvinit.kernel.sockets import Listener
    from srvinit.options import Options
    from srvinit.seating import Seating
    from srvinit.starting import Running
    from srvinit.upkeep import Upkeep

    Emit = Callable[[str, dict[str, Any]], None]

QUEUE_LOOK_S = 0.01
# How long a handshake may take: a lost packet is sent again after one second, then after two. A
# client that never finishes its own must not hold up a worker that is to stop.
HANDSHAKE_S = 3.0
# A worker that starts is looked at after 5 ms, then ever less often, down to ten times a second;
# all looking together takes a fifth of the time at most, however many workers start.
PROBE_FIRST_S = 0.005
PROBE_LAST_S = 0.1
PROBE_GROWTH = 1.5
PROBE_SHARE = 0.2
# Anybody who finds a notify socket can write to it, and must not fill the log by that.
REFUSALS_TOLD = 10


class Watch:
    """Watches the workers that are `add`ed, and the sockets' queue when asked to."""

    def __init__(self, emit: Emit) -> None:
        self.running: dict[int, Running] = {}
        self.seating: Seating | None = None  # set where sockets are steered
        self.max_queue = 0  # worker.max_queue; 0: nobody looks at the queues of those that serve
        self._backlogs: Backlogs | None = None
        self._backlogs_at = 0.0
        self.upkeep: Upkeep | None = None  # set once the first workers run
        self._emit = emit
        self._by_fd: dict[int, Running] = {}
        self._epoll: select.epoll | None = None  # from the first worker on
        self._probed: set[int] = set()  # workers that may be accepting any moment
        self._probe_at = 0.0
        self._probe_pause = PROBE_FIRST_S
        self._is_behind = False  # more messages may wait than one look takes in
        self._queue: list[Listener] | None = None
        self._queue_at = 0.0
        self._seats: dict[int, tuple[int, float]] = {}  # that are to empty, since when, by pid
        self._seats_at = 0.0

    def configure(self, options: Options) -> None:
        """Take up settings."""
        # Where all share a queue, whoever takes nobody leaves it to the others.
        self.max_queue = options.worker_max_queue if options.bind_mode == "steered" else 0
        if self.upkeep is not None:
            self.upkeep.configure(options)

    @property
    def own_fds(self) -> tuple[int, ...]:
        """The descriptors that are srvinit's alone: a callable's child closes them."""
        upkeep = () if self.upkeep is None else self.upkeep.own_fds
        epoll = () if self._epoll is None else (self._epoll.fileno(), *self._by_fd)
        return epoll + upkeep

    @property
    def awaits_exec(self) -> bool:
        """Whether some worker's exec is still under way."""
        return any(running.exec_fd >= 0 for running in self.running.values())

    def add(self, running: Running) -> None:
        """Watch a worker that was just forked; its exec pipe is armed already.

        Raises OSError (ENOMEM, ENOSPC) with all that was held of it let go.
        """
        self.running[running.pid] = running
        try:
            self._listen_to(running.exec_fd, running)
            if running.notify is not None:
                signals.arm(running.notify.fd)
                self._listen_to(running.notify.fd, running)
        except OSError:
            self.forget(running.pid)
            raise

    def forget(self, pid: int) -> None:
        """Let go of a worker that is about to be reaped."""
        running = self.running.pop(pid)
        self._probed.discard(pid)
        self._seats.pop(pid, None)
        self._close_exec_pipe(running)
        if running.notify is not None:
            self._forget_fd(running.notify.fd)
            running.notify.close()

    def watch_queue(self, listeners: list[Listener]) -> None:
        """Tell once, by QueueEmptied, that no connection waits on any of these sockets."""
        self._queue = [listener for listener in listeners if listener.is_stream]
        self._queue_at = 0.0

    def watch_seat(self, pid: int, seat: int) -> None:
        """Tell once, by SeatEmptied, that nobody waits on a worker's seat."""
        self._seats[pid] = seat, time.monotonic()
        self._seats_at = 0.0

    def _has_seats(self) -> bool:
        return bool(self._seats) or (self.seating is not None and self.seating.has_closing)

    def end(self) -> None:
        """Have nothing wake this process any more: in a library it goes on, and is not ours."""
        if self.upkeep is not None:
            self.upkeep.end()

    def wake(self) -> None:
        """Take it that a descriptor has woken srvinit, which need not have anything to read."""
        if self.upkeep is not None:
            self.upkeep.wake()

    def due(self) -> float | None:
        """Say when `collect` is worth a call though no signal came; None: never."""
        dues = [self._probe_at] if self._probed else []
        if self.upkeep is not None:
            dues += [due for due in self.upkeep.dues() if due is not None]
        if self._has_seats():
            dues.append(self._seats_at)
        if self._queue is not None:
            dues.append(self._queue_at)
        if self.max_queue and self.seating is not None:
            dues.append(self._backlogs_at)
        if self._is_behind:
            dues.append(0.0)  # those that wait raise no further SIGIO
        return min(dues, default=None)

    def collect(self) -> Iterator[events.Event]:
        """Yield what has become known, in the order in which it is to be judged."""
        self._is_behind = False
        for fd, _ in self._epoll.poll(0) if self._epoll and self._by_fd else ():
            running = self._by_fd.get(fd)
            if running is not None and fd == running.exec_fd:
                yield from self._read_exec_pipe(running)
            elif running is not None:
                yield from self._read_notices(running)
        now = time.monotonic()
        if self._probed and now >= self._probe_at:
            yield from self._look_who_accepts(now)
        if self._queue is not None and now >= self._queue_at:
            self._queue_at = now + QUEUE_LOOK_S
            if not any(listener.has_waiting() for listener in self._queue):
                self._queue = None
                yield events.QueueEmptied()
        if self.upkeep is not None:
            yield from self.upkeep.collect(self.running)
        if self.max_queue and self.seating is not None and now >= self._backlogs_at:
            yield from self._look_at_queues(self.seating, now)
        if self._has_seats() and now >= self._seats_at:
            yield from self._look_at_seats(now)

    def _look_at_queues(self, seating: Seating, now: float) -> Iterator[events.Event]:
        """Tell who takes none of those who wait."""
        from srvinit import backlogs

        self._backlogs = self._backlogs or backlogs.Backlogs()
        self._backlogs_at = now + backlogs.LOOK_S
        yield from self._backlogs.look(seating, self.max_queue)

    def _look_at_seats(self, now: float) -> Iterator[events.Event]:
        """Tell whose queue is empty by now, and close the seats that nobody needs."""
        assert self.seating is not None  # noqa: S101  seats are watched where there are any
        looked: dict[tuple[int, bool], bool] = {}  # all workers may share a seat
        for pid, (seat, since) in list(self._seats.items()):
            awaited = seat, now - since < HANDSHAKE_S
            if awaited not in looked:
                looked[awaited] = self.seating.is_empty(seat, awaits_handshakes=awaited[1])
            if looked[awaited]:
                del self._seats[pid]
                yield events.SeatEmptied(pid)
        for seat in self.seating.close_seats(now):
            yield events.SeatWaits(seat)
        done = time.monotonic()
        self._seats_at = done + max(QUEUE_LOOK_S, (done - now) / PROBE_SHARE)

    def last_words(self, pid: int) -> Iterator[events.Event]:
        """Yield what a worker that has ended had still said."""
        running = self.running[pid]
        yield from self._read_exec_pipe(running)
        yield from self._read_notices(running)

    def exit_of(self, pid: int, status: int, argv0: str) -> events.Exited:
        """Make the event of a worker's end; where there was no exec, it says why."""
        running = self.running[pid]
        failed = running.failed
        if failed is None:
            # Between a kill of ours and the exit another may have struck first: no matter, then.
            why = None if running.is_killed or not self.upkeep else self.upkeep.oom_why(pid, status)
            return events.Exited(pid, status, 0, why or "", why is not None)
        from srvinit.kernel.exec_words import explain

        exec_status = execing.exit_status_for(failed.number)
        return events.Exited(pid, status, exec_status, explain(failed, argv0))

    def _listen_to(self, fd: int, running: Running) -> None:
        import select  # a file to load: not before the first worker's fork

        if self._epoll is None:
            self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self._by_fd[fd] = running

    def _forget_fd(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None and self._epoll is not None:
            self._epoll.unregister(fd)

    def _close_exec_pipe(self, running: Running) -> None:
        if running.exec_fd >= 0:
            self._forget_fd(running.exec_fd)
            descriptors.close_all((running.exec_fd,))
            running.exec_fd = -1

    def _read_exec_pipe(self, running: Running) -> Iterator[events.Event]:
        """Learn what became of the exec: it runs, or it failed, or nothing is told yet."""
        if running.exec_fd < 0:
            return
        result = execing.read_exec_result(running.exec_fd)
        if result is None:
            return
        self._close_exec_pipe(running)
        if isinstance(result, execing.Failed):
            running.failed = result
        elif running.require == "online":
            yield events.BecameReady(running.pid)
        elif running.require == "listen":
            self._probed.add(running.pid)
            self._probe_pause = PROBE_FIRST_S
            self._probe_at = time.monotonic() + PROBE_FIRST_S

    def _read_notices(self, running: Running) -> Iterator[events.Event]:
        """Take in what a worker says through its notify socket."""
        if running.notify is None:
            return
        notices = running.notify.receive(running.pid)
        self._is_behind |= bool(notices) and running.notify.has_waiting()
        for notice in notices:
            if notice.refused:
                self._tell_refusal(running, notice.refused)
            yield from self._translate(running.pid, notice)

    def _tell_refusal(self, running: Running, why: str) -> None:
        running.refusals += 1
        if running.refusals == REFUSALS_TOLD:
            why += "; no more of these are told of this worker"
        if running.refusals <= REFUSALS_TOLD:
            self._emit("notify.refused", {"pid": running.pid, "why": why})

    @staticmethod
    def _translate(pid: int, notice: Notice) -> Iterator[events.Event]:
        if notice.ready:
            yield events.BecameReady(pid)
        if notice.pinged:
            yield events.Pinged(pid)
        if notice.status is not None:
            yield events.Announced(pid, notice.status)
        if notice.stopping:
            yield events.Announced(pid, "it says that it stops")

    def _look_who_accepts(self, now: float) -> Iterator[events.Event]:
        """Look which of the starting workers accept on a shared socket by now."""
        for pid in sorted(self._probed):
            probe = self.running[pid].probe
            if probe is not None and probe.is_accepting(pid):
                self._probed.discard(pid)
                yield events.BecameReady(pid)
        done = time.monotonic()
        self._probe_pause = min(self._probe_pause * PROBE_GROWTH, PROBE_LAST_S)
        self._probe_at = done + max(self._probe_pause, (done - now) / PROBE_SHARE)
