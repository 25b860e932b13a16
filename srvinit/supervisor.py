"""The loop: facts of the kernel become events, the core's actions become system calls.

    wait for a signal -> translate -> pool.handle -> perform -> wait

The only place that holds both sides. It decides nothing: an `if` about policy belongs in the core.
Every wait is the one in `_sleep`; nothing else here blocks. What it must never do is die: a fault
of one call is logged and survived, a fault of the core ends in an orderly stop of the workers.

The order within a turn is a promise. Signals are taken in before exits are judged: where a platform
sends TERM to every process at once, the workers that die of it are a shutdown, not crashes. What
a worker said is read before its exit is judged: its last words count.
"""

from __future__ import annotations

import posix
import sys
import time

from srvinit.errors import LACKS, KernelRefused, LifecycleError, UsageError, words_of
from srvinit.kernel import signals
from srvinit.lifecycle import actions, events
from srvinit.lifecycle.pool import Pool
from srvinit.setup import worker_count
from srvinit.starting import STATUS_OF_OUR_FAULT
from srvinit.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from srvinit.kernel.signals import Arrival
    from srvinit.starting import Running, Start

# How many faults of the loop in a row are survived, in some seconds: the next is no bad luck.
FAULTS_SURVIVED, FAULT_PAUSE_S = 10, 0.1
# How long the log waits for the first workers' exec; it takes some 50 ms to import.
SETTLE_IN_S = 0.05
SETTLE_RETRY_S = 1.0
# A start is over, and what only it needed can go, when srvinit first has so long to sleep: longer
# than the restart.reset of most, 10 s.
REST_S = 15.0


class Supervisor:
    """One run of srvinit, from its first workers to its exit status. Signals must be blocked."""

    def __init__(self, start: Start) -> None:
        self.status: int | None = None
        self._start = start
        self._setup, self._options = start.setup, start.setup.options
        self._telling, self._emit = start.telling, start.telling.emit
        self._listening, self._starter = start.listening, start.starter
        self._watch = Watch(self._emit)
        # None: it has settled in.
        self._settle_at: float | None = start.telling.began_at + SETTLE_IN_S
        self._has_rested = False
        self._faults, self._lack = 0, ""  # in a row; what the log lacked when it was to start
        self._perform: dict[type[actions.Action], Callable[[Any], events.Event | None]] = {
            actions.Spawn: self._spawn,
            actions.Signal: self._signal,
            actions.KillGroup: self._kill_group,
            actions.Reap: self._reap,
            actions.Log: lambda order: self._emit(order.event, order.fields, order.level),
            actions.ReadConfig: self._read_config,
            actions.WatchQueue: lambda _: self._watch.watch_queue(self._listening.listeners),
            actions.WatchSeat: lambda order: self._watch.watch_seat(order.pid, order.seat),
            **self._listening.performs(),
            actions.Sweep: self._sweep,
            actions.TellManager: self._tell_manager,
            actions.StopSelf: self._stop_self,
            actions.Exit: self._exit,
        }

    def run(self) -> int:
        """Live until the core says Exit; return the exit status."""
        self._watch.configure(self._options)
        self.pool = Pool(self._options, self._start.count)
        self._orphans = self._start.orphans
        self._watch.seating = self._listening.seating
        is_steered = self._listening.seating is not None
        self._feed(events.Begin(bool(self._setup.inherited), is_steered))
        while self.status is None:
            self._survive(self._turn)
        self._listening.end()
        self._watch.end()
        if self._setup.jobs is not None:
            self._setup.jobs.end()
        return self.status

    # --- the loop ------------------------------------------------------------------------------

    def _survive(self, turn: Callable[[], None]) -> None:
        """Run a turn of the loop; survive its faults where that is safe."""
        try:
            turn()
            self._faults = 0
        except LifecycleError as error:
            self._abandon(error)
        except Exception as error:  # noqa: BLE001  PID 1 must not die of anything
            self._faults += 1
            if self._faults > FAULTS_SURVIVED:
                self._abandon(error)
            else:
                self._report_fault(error, "srvinit goes on")

    def _turn(self) -> None:
        """Sleep, then take in all that has happened, in the order that the module promises."""
        arrival = self._sleep()
        if arrival is not None:
            self._take_signals([arrival, *signals.drain()])
        for event in self._watch.collect():
            self._feed(event)
        self._judge_exits()
        if self._settle_at and self._may_settle_in(self._settle_at):
            self._settle_in()
        due, looked_at = self.pool.next_deadline(), time.monotonic()
        if due is not None and looked_at >= due:
            # Look again: this turn may have taken seconds with hundreds of workers, and one that
            # became ready meanwhile must not be killed for being late.
            for event in self._watch.collect():
                self._feed(event)
            self._feed(events.Tick(), looked_at)
        if self._settle_at is None:
            self._publish()
            self._listening.tend()
            self._telling.log.flush()

    def _publish(self) -> None:
        telling = self._telling
        telling.publisher.publish(self.pool, self._listening, telling.log.dropped)

    def _may_settle_in(self, at: float) -> bool:
        """Tell whether the first workers run, or have been waited for long enough."""
        return time.monotonic() >= at or not (self._lack or self._watch.awaits_exec)

    def _settle_in(self) -> None:
        """Import what is slow to import, now that it delays no start; again, where that fails."""
        try:
            self._telling.log.start()
            # `faults` for when there is one: no file may be there to be opened any more.
            from srvinit import faults  # noqa: F401
            from srvinit.upkeep import Upkeep

            upkeep = Upkeep(self._emit, self._setup, self._options)
        except LACKS as lack:
            if not self._lack:
                self._lack = f"the log cannot start yet: {words_of(lack)}"
                self._emit("kernel.refused", {"error": self._lack})
            # A directory that could not be listed is an empty one for good to importlib.
            sys.path_importer_cache.clear()
            self._settle_at = time.monotonic() + SETTLE_RETRY_S
            return
        self._settle_at = None
        self._setup.settled()
        self._watch.upkeep = upkeep

    def _sleep(self) -> Arrival | None:
        """Sleep until a signal comes or something is due. Nothing due: no wake-up."""
        now = time.monotonic()
        dues = [self.pool.next_deadline(), self._watch.due(), self._settle_at]
        if self._settle_at is None:
            dues += [self._listening.due(), self._telling.publisher.due()]
            if (retry_s := self._telling.log.retry_in()) is not None:
                dues.append(now + retry_s)
        known = [due for due in dues if due is not None]
        if not (self._has_rested or self._settle_at or (known and min(known) < now + REST_S)):
            self._has_rested = True
            self._setup.settled()
        return signals.wait(max(FAULT_PAUSE_S * self._faults, min(known) - now) if known else None)

    def _feed(self, event: events.Event, at: float | None = None) -> None:
        """Hand one event to the core and carry its orders out; answers go before all else."""
        waiting = [event]
        while waiting and self.status is None:
            answers = []
            now, at = time.monotonic() if at is None else at, None
            for action in self.pool.handle(waiting.pop(0), now):
                try:
                    answer = self._perform[type(action)](action)
                except (KernelRefused, *LACKS) as refused:
                    # One order failed (to a worker that changed its user, say): the rest stands.
                    self._emit("kernel.refused", {"error": words_of(refused)})
                    continue
                if answer is not None:
                    answers.append(answer)
            waiting = answers + waiting

    # --- facts become events -------------------------------------------------------------------

    def _take_signals(self, arrivals: Iterable[Arrival]) -> None:
        """Hand on what a process or the terminal sent; the kernel's own only wake the loop."""
        jobs, was_sent = self._setup.jobs, False
        for arrival in arrivals:
            name, pid, by_terminal = arrival.name, arrival.sender_pid, arrival.is_from_terminal
            if name == "IO":
                self._watch.wake()  # a process's stands for the kernel's too, where both came
            if name == "CHLD" or (name == "IO" and arrival.is_from_kernel):
                continue  # they have done their work: the loop is awake
            event = events.SignalArrived(name, pid, by_terminal)
            if name == "HUP":
                event.hangup = by_terminal
                if jobs is not None:
                    event.hangup = jobs.is_hangup(pid, from_terminal=by_terminal)
            if jobs is not None:
                event.worker_has_terminal = any(map(jobs.has_terminal, self._watch.running))
            self._feed(event)
            was_sent = True
        if was_sent:
            # A worker that was signalled may be queued behind us on our CPU, and the lines of the
            # log take longer than all before: without this half of the signals took twice as long.
            posix.sched_yield()
            if self._settle_at is None:  # a stop makes us unready now, not after a thousand exits
                self._publish()

    def _judge_exits(self) -> None:
        """Judge every child that has ended: a worker by the core, an orphan by nobody."""
        from srvinit.kernel import reap

        while self.status is None and (ended := reap.peek()) is not None:
            if ended.pid not in self._watch.running:
                self._orphans.bury(ended.pid, ended.status)
                continue
            self._take_signals(signals.drain())
            for event in self._watch.last_words(ended.pid):
                self._feed(event)
            self._feed(self._watch.exit_of(ended.pid, ended.status, self._starter.launch.argv[0]))
        if self._setup.jobs is not None:
            self._setup.jobs.judge_stops(self._watch.running)
        if self.status is None and self._orphans.is_sweeping() and self._orphans.are_gone():
            self._feed(events.OrphansGone())

    # --- orders become system calls --------------------------------------------------------------

    def _spawn(self, order: actions.Spawn) -> events.Event:
        running = None
        try:
            running = self._start.take(order.slot, order.generation, order.seat)
            running = running or self._start_worker(order)
            self._watch.add(running)
        except (KernelRefused, *LACKS) as refused:
            if running is not None:  # it runs, but nobody would know: it ends as an orphan does
                signals.send_group(running.pid, "KILL")
            return events.SpawnFailed(order.number, words_of(refused))
        if self._setup.jobs is not None:
            self._setup.jobs.note_start(running.pid)
        return events.Spawned(order.number, running.pid)

    def _start_worker(self, order: actions.Spawn) -> Running:
        own_fds = self._telling.status_fd, *self._watch.own_fds
        place = order.slot, order.seat
        return self._starter.start(place, order.generation, self.pool.count, own_fds)

    def _signal(self, order: actions.Signal) -> None:
        send = signals.send_group if order.to_group else signals.send
        send(order.pid, order.name)

    def _kill_group(self, order: actions.KillGroup) -> None:
        signals.send_group(order.pid, "KILL")
        self._watch.running[order.pid].is_killed = True

    def _reap(self, order: actions.Reap) -> None:
        from srvinit.kernel import reap

        self._watch.forget(order.pid)
        reap.reap(order.pid)
        if self._setup.jobs is not None:
            self._setup.jobs.note_end()

    def _read_config(self, _order: actions.ReadConfig) -> events.Event:
        """Read the settings, and bind what is new or nothing; the recycle waits for the answer."""
        try:
            options = self._setup.reload()
            count, why = worker_count(options)
            self._listening.go_over(options, self._options)
        except UsageError as error:
            return events.ConfigRejected(error.faults)
        except (KernelRefused, *LACKS) as refused:
            return events.ConfigRejected([words_of(refused)])
        self._options = options
        try:
            self._starter.prepare(options)
            self._watch.configure(options)
            self._telling.log.configure(options.log_format, options.log_level)
        except LACKS as lack:
            self._emit("kernel.refused", {"error": words_of(lack)})
        return events.ConfigRead(options, count, why)

    def _sweep(self, order: actions.Sweep) -> events.Event | None:
        if self._orphans.sweep(order.name):
            return events.OrphansGone()
        self._emit("shutdown.sweeping", {"signal": order.name})
        return None

    def _tell_manager(self, order: actions.TellManager) -> None:
        from srvinit.manager import tell

        tell(order.text, self._emit)

    def _stop_self(self, _order: actions.StopSelf) -> None:
        if self._setup.jobs is not None:
            self._setup.jobs.suspend(next(iter(self._watch.running), None))

    def _exit(self, order: actions.Exit) -> None:
        self._telling.emit_exit(order.status, order.reason)
        self.status = order.status

    # --- our own faults --------------------------------------------------------------------------

    def _report_fault(self, error: BaseException, following: str) -> None:
        from srvinit import faults

        self._emit("srvinit.fault", faults.fields_of(error, following))

    def _abandon(self, error: BaseException) -> None:
        """Stop the workers without the core: it is not to be trusted any more."""
        from srvinit import faults

        self._report_fault(error, "srvinit stops its workers and exits with 1")
        if self._telling.is_open:
            self._telling.publisher.withdraw()
        faults.stop_workers(self._watch, self._options)
        self._listening.close()
        self._exit(actions.Exit(STATUS_OF_OUR_FAULT, "srvinit has a fault of its own"))
