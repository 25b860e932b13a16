"""A simulated kernel with simulated processes, in virtual time, on which the core runs.

`World` does for the pool what the supervisor does: it hands events in, carries orders out and
answers them first, in their order. What the kernel would refuse is refused here: a signal to a pid
that is reaped, a second exit, a reap of what still lives, steering to a socket that is closed.
tests/process runs the same behaviours for real.
"""

from __future__ import annotations

import dataclasses
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Self

from srvinit import starting
from srvinit.lifecycle import actions, events
from srvinit.lifecycle.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.options import Options

FIRST_PID = 100
SHORTEST_LIFE_S = 0.001  # without it a boot loop without delay would stop the time
KILLED = 9
ABORTED = 6
TERMINATED = 15


@dataclasses.dataclass(slots=True)
class Behaviour:
    """How a process lives. Durations are seconds; None is never. Statuses are raw."""

    ready_after: float | None = 0.01
    ends_after: float | None = None  # from its start, by itself
    ends_with: int = 0
    stops_after: float | None = 0.01  # from the stop signal; None: it is stubborn
    stops_with: int = 0
    pings_every: float | None = None
    hangs_after: float | None = None  # from its start: no ping from here on
    aborts: bool = True  # SIGABRT ends it
    killed_after: float | None = 0.0  # None: the kernel cannot end it
    orphans: int = 0  # processes it leaves behind
    exec_status: int = 0
    repeats_ready: bool = False
    fails_to_spawn: bool = False
    seat_empties_after: float | None = 0.0  # None: it takes nobody any more


class Process:
    """A simulated process, and the zombie it leaves."""

    __slots__ = ("behaviour", "ended", "is_stopped", "pid", "signals", "started_at", "status")

    def __init__(self, pid: int, behaviour: Behaviour, now: float) -> None:
        self.pid = pid
        self.behaviour = behaviour
        self.started_at = now
        self.ended = False
        self.status = 0
        self.is_stopped = False  # SIGSTOP: it takes no signal in but CONT and KILL
        self.signals: list[str] = []


class World:
    """The kernel, the clock and the files around one pool. `choose` says how a worker will live."""

    def __init__(
        self,
        options: Options,
        count: int,
        choose: Callable[[World, actions.Spawn], Behaviour] | None = None,
    ) -> None:
        self.options = options
        self.pool = Pool(options, count)
        self.choose = choose or (lambda _world, _order: Behaviour())
        self.now = 0.0
        self.processes: dict[int, Process] = {}  # unreaped ones
        self.reaped: dict[int, Process] = {}
        self.logs: list[tuple[float, str, dict[str, Any]]] = []
        self.told: list[str] = []  # what the manager was told
        self.orders: list[tuple[float, Action]] = []
        self.spawned = 0
        self.keeps_history = True  # `logs`, `orders` and `reaped` grow without end
        self.exit: actions.Exit | None = None
        self.exited_at = 0.0
        self.next_config: Callable[[], Event] = lambda: events.ConfigRead(
            self.options, self.pool.configured_count
        )
        self.exit_seen_after = 0.0  # how late srvinit hears of an exit
        self.queue_empty_after: float | None = 0.0
        self.is_steered = False
        self.seats: set[int] = set()  # that are open
        self.waits_on: Callable[[int], float | None] = lambda _seat: (
            None
        )  # left by a crash: how soon
        self.steered_to: frozenset[int] = frozenset()
        self.is_door_shut = self.is_closed = False
        self.orphans = 0
        self.orphans_end_after: dict[str, float | None] = {"TERM": 0.01, "KILL": 0.0}
        self.witness: Callable[[Event, list[Action]], None] | None = None
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._agenda_set = 0
        self._perform: dict[type[Action], Callable[[Any], Event | None]] = {
            actions.Spawn: self._spawn,
            actions.Signal: self._signal,
            actions.KillGroup: self._kill_group,
            actions.Reap: self._reap,
            actions.Log: self._log,
            actions.ReadConfig: lambda _order: self.next_config(),
            actions.WatchQueue: self._watch_queue,
            actions.OpenSeat: self._open_seat,
            actions.Steer: self._steer,
            actions.WatchSeat: self._watch_seat,
            actions.CloseSeat: self._close_seat,
            actions.ShutDoor: self._shut_door,
            actions.CloseSockets: self._close_sockets,
            actions.ReleaseSockets: self._do_nothing,
            actions.RestoreBacklog: self._do_nothing,
            actions.Sweep: self._sweep,
            actions.TellManager: self._tell_manager,
            actions.StopSelf: self._do_nothing,
            actions.Exit: self._exit,
        }

    # --- time --------------------------------------------------------------------------------

    def at(self, when: float, do: Callable[..., None], *what: Any) -> None:
        """Do something at an instant."""
        self._agenda_set += 1
        heappush(self._agenda, (when, self._agenda_set, do, what))

    def step(self, until: float) -> bool:
        """Let the next thing happen, if it happens by `until`; else only the time passes."""
        due = self.pool.next_deadline()
        if self._agenda and (due is None or self._agenda[0][0] < due):
            if self._agenda[0][0] > until:
                self.now = max(self.now, until)
                return False
            when, _, do, what = heappop(self._agenda)
            self.now = max(self.now, when)
            do(*what)
            return True
        if due is None or due > until:
            self.now = max(self.now, until)
            return False
        self.now = max(self.now, due)
        self.feed(events.Tick())
        return True

    def run(self, seconds: float) -> None:
        """Let time pass, or srvinit end."""
        until = self.now + seconds
        while self.exit is None and self.step(until):
            pass

    def suspend(self, seconds: float) -> None:
        """Let time pass without srvinit: it was stopped, or its machine was busy."""
        self.now += seconds

    # --- srvinit ------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Hand an event to the pool and carry its orders out, answers first."""
        waiting = [event]
        while waiting and self.exit is None:
            event = waiting.pop(0)
            is_first = not self.pool.slots
            orders = self.pool.handle(event, self.now)
            if is_first and isinstance(event, events.Begin):  # carried out ahead, in srvinit
                spawns = [order for order in orders if isinstance(order, actions.Spawn)]
                ordered = [(order.slot, order.generation, order.seat) for order in spawns]
                is_swapped = self.is_steered and self.options.bind_mode == "swapped"
                first = starting.first_orders(self.pool.count, is_swapped=is_swapped)
                assert ordered == first
            answers = []
            for order in orders:
                answer = self._perform[type(order)](order)
                if answer is not None:
                    answers.append(answer)
            if self.keeps_history:
                self.orders += [(self.now, order) for order in orders]
            if self.witness is not None:
                self.witness(event, orders)
            waiting = answers + waiting

    def begin(self, *, inherits_sockets: bool = False) -> Self:
        """Start the workers."""
        self.feed(events.Begin(inherits_sockets, self.is_steered))
        return self

    def signal(self, name: str, **more: Any) -> None:
        """Send srvinit a signal."""
        self.feed(events.SignalArrived(name, **more))

    # --- orders -------------------------------------------------------------------------------

    def _spawn(self, order: actions.Spawn) -> Event:
        behaviour = self.choose(self, order)
        self.seats.add(order.seat)
        if behaviour.fails_to_spawn:
            return events.SpawnFailed(order.number, "fork: EAGAIN")
        pid = FIRST_PID + self.spawned
        self.spawned += 1
        process = self.processes[pid] = Process(pid, behaviour, self.now)
        now = self.now
        self.orphans += behaviour.orphans
        if behaviour.exec_status:
            after = behaviour.ends_after or SHORTEST_LIFE_S
            self.at(now + after, self._end, process, behaviour.exec_status << 8)
        elif behaviour.ready_after is not None:
            self.at(now + behaviour.ready_after, self._become_ready, process)
        if behaviour.pings_every is not None and behaviour.repeats_ready:
            self.at(now, self._ping_early, process)
        if behaviour.ends_after is not None:
            after = max(behaviour.ends_after, SHORTEST_LIFE_S)
            self.at(now + after, self._end, process, behaviour.ends_with)
        return events.Spawned(order.number, pid)

    def _signal(self, order: actions.Signal) -> None:
        process = self.processes.get(order.pid)
        assert process is not None, f"{order} to a pid that is reaped"
        process.signals.append(order.name)
        if process.ended:
            return
        if order.name == "CONT":
            process.is_stopped = False
            if process.signals.count("TERM"):
                self._obey(process)
        elif order.name == "ABRT":
            if process.behaviour.aborts:
                self._end(process, ABORTED)
        elif order.name != "TERM" or process.is_stopped:
            pass
        else:
            self._obey(process)

    def _obey(self, process: Process) -> None:
        behaviour = process.behaviour
        if behaviour.stops_after is not None:
            self.at(self.now + behaviour.stops_after, self._end, process, behaviour.stops_with)

    def _kill_group(self, order: actions.KillGroup) -> None:
        process = self.processes.get(order.pid)
        assert process is not None, f"{order} of a pid that is reaped"
        process.signals.append("KILL")
        if not process.ended and process.behaviour.killed_after is not None:
            self.at(self.now + process.behaviour.killed_after, self._end, process, KILLED)

    def _reap(self, order: actions.Reap) -> None:
        process = self.processes.pop(order.pid)
        assert process.ended, f"{order} of a process that lives"
        if self.keeps_history:
            self.reaped[process.pid] = process

    def _log(self, order: actions.Log) -> None:
        if self.keeps_history:
            self.logs.append((self.now, order.event, order.fields))

    def _watch_queue(self, _order: actions.WatchQueue) -> Event | None:
        if self.queue_empty_after is not None:
            self.at(self.now + self.queue_empty_after, self.feed, events.QueueEmptied())
        return None

    def _steer(self, order: actions.Steer) -> None:
        assert order.seats <= self.seats, f"{order} of open seats {self.seats}"
        self.steered_to = order.seats

    def _watch_seat(self, order: actions.WatchSeat) -> None:
        process = self.processes[order.pid]
        assert order.seat in self.seats, f"{order} of open seats {self.seats}"
        after = process.behaviour.seat_empties_after
        if after is not None:
            self.at(self.now + after, self._empty_seat, process)

    def _open_seat(self, order: actions.OpenSeat) -> None:
        assert order.seat not in self.seats, f"{order} of open seats {self.seats}"
        self.seats.add(order.seat)

    def _close_seat(self, order: actions.CloseSeat) -> None:
        assert order.seat in self.seats, f"{order} of open seats {self.seats}"
        assert order.seat not in self.steered_to, f"{order} with newcomers on the way"
        after = self.waits_on(order.seat) if order.by is None else None
        if after is None:
            self.seats.remove(order.seat)
        else:
            self.at(self.now + after, self._show_who_waits, order.seat)

    def _show_who_waits(self, seat: int) -> None:
        if not self.is_closed:
            self.feed(events.SeatWaits(seat))

    def _shut_door(self, _order: actions.ShutDoor) -> None:
        assert self.is_steered, "there is no door"
        assert not self.is_door_shut, "the door is shut already"
        assert not self.is_closed, "the sockets are closed already"
        self.is_door_shut = True

    def _close_sockets(self, _order: actions.CloseSockets) -> None:
        assert not self.is_closed, "the sockets are closed twice"
        self.is_closed = True
        self.seats.clear()
        self.steered_to = frozenset()

    def _sweep(self, order: actions.Sweep) -> Event | None:
        after = self.orphans_end_after[order.name]
        if not self.orphans and not self.processes:
            return events.OrphansGone()
        if after is not None:
            self.at(self.now + after, self._end_orphans)
        return None

    def _tell_manager(self, order: actions.TellManager) -> None:
        self.told.append(order.text)

    def _exit(self, order: actions.Exit) -> None:
        assert self.exit is None, "srvinit ends twice"
        self.exit = order
        self.exited_at = self.now

    def _do_nothing(self, _order: Action) -> None:
        pass

    # --- what processes do ------------------------------------------------------------------------

    def _become_ready(self, process: Process) -> None:
        if process.ended:
            return
        self.feed(events.BecameReady(process.pid))
        behaviour = process.behaviour
        if behaviour.repeats_ready:
            self.at(self.now + 0.7, self._repeat_ready, process)
        if behaviour.pings_every is not None and self.pool.options.worker_watchdog:
            self.at(self.now + behaviour.pings_every, self._ping, process)

    def _empty_seat(self, process: Process) -> None:
        if process.pid in self.processes:
            self.feed(events.SeatEmptied(process.pid))

    def _repeat_ready(self, process: Process) -> None:
        if not process.ended:
            self.feed(events.BecameReady(process.pid))
            self.at(self.now + 1.9, self._repeat_ready, process)

    def _ping(self, process: Process) -> None:
        behaviour = process.behaviour
        hangs_after = behaviour.hangs_after
        hangs = hangs_after is not None and self.now >= process.started_at + hangs_after
        if hangs and not behaviour.aborts:
            self.at(self.now + self.pool.options.worker_watchdog + 0.1, self._awake, process)
        if process.ended or hangs or behaviour.pings_every is None:
            return
        self.feed(events.Pinged(process.pid))
        self.at(self.now + behaviour.pings_every, self._ping, process)

    def _ping_early(self, process: Process) -> None:
        if not process.ended:
            self.feed(events.Pinged(process.pid))

    def _awake(self, process: Process) -> None:
        """Go on as if nothing had been, too late."""
        if not process.ended:
            self.feed(events.Pinged(process.pid))
            self.feed(events.BecameReady(process.pid))

    def _end(self, process: Process, status: int) -> None:
        if process.ended:
            return
        process.ended = True
        process.status = status
        self.at(self.now + self.exit_seen_after, self._notice_exit, process)

    def _notice_exit(self, process: Process) -> None:
        exec_status = process.behaviour.exec_status
        detail = "no such file" if exec_status else ""
        self.feed(events.Exited(process.pid, process.status, exec_status, detail))
        self._notice_orphans()

    def _end_orphans(self) -> None:
        self.orphans = 0
        self._notice_orphans()

    def _notice_orphans(self) -> None:
        if self.pool.phase == "sweeping" and not self.orphans and not self.processes:
            self.feed(events.OrphansGone())

    # --- for tests --------------------------------------------------------------------------------

    def kill(self, pid: int, status: int = KILLED) -> None:
        """End a process from outside, as kill -9 does."""
        self._end(self.processes[pid], status)

    def stop(self, pid: int) -> None:
        """Send SIGSTOP from outside."""
        self.processes[pid].is_stopped = True

    def pids(self) -> list[int]:
        """List the processes that live."""
        return sorted(pid for pid, process in self.processes.items() if not process.ended)

    def process(self, pid: int) -> Process:
        """Find a process, reaped or not."""
        return self.processes.get(pid) or self.reaped[pid]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """List the fields of all lines of one event."""
        return [fields for _, name, fields in self.logs if name == event]

    def times(self, event: str) -> list[float]:
        """List the instants of all lines of one event."""
        return [at for at, name, _ in self.logs if name == event]


def in_turn(*first: Behaviour, then: Behaviour | None = None) -> Callable[..., Behaviour]:
    """Choose these behaviours for the first workers, and `then` for all later ones."""

    def choose(_world: World, order: actions.Spawn) -> Behaviour:
        return first[order.number] if order.number < len(first) else then or Behaviour()

    return choose
