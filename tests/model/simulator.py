"""Thousands of worker lives in virtual time: seeded, checked after every step, replayable.

    python -m tests.model.simulator                  runs seeds for ten seconds
    python -m tests.model.simulator --seed 4711      runs one, and prints its events as a unit test

A seed draws settings, a mood (how the processes of this run live), and what comes from outside:
signals, new and faulty settings, crashes, suspensions. A third of the runs steer their sockets, a
third swap them. Half of all end in a calm, in which all new processes are healthy: then the pool
must come to rest at what is wanted. All end in a TERM.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracle import Oracle
from replay import DrawnOptions, Recording
from simulated import KILLED, TERMINATED, Behaviour, World

from srvinit.lifecycle import events
from srvinit.lifecycle.worker import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from srvinit.lifecycle.actions import Spawn
    from srvinit.lifecycle.events import Event


class BrokenError(AssertionError):
    """A promise did not hold, or the core came to an end it must not come to."""


# --- what is drawn -------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Random], Behaviour]] = {
    "quick": lambda r: Behaviour(ready_after=r.choice((0.0, 0.01, 0.05))),
    "slow": lambda r: Behaviour(ready_after=r.uniform(0.5, 3.0), stops_after=r.uniform(0, 4)),
    "never ready": lambda r: Behaviour(ready_after=None, stops_after=r.choice((None, 0.1))),
    "stubborn": lambda _: Behaviour(stops_after=None),
    "lingering": lambda r: Behaviour(stops_after=r.choice((2.0, 5.0, r.uniform(1, 12)))),
    "crashing at start": lambda r: Behaviour(
        ready_after=r.choice((None, 0.0)), ends_after=r.uniform(0.001, 0.3), ends_with=1 << 8
    ),
    "crashing later": lambda r: Behaviour(
        ends_after=r.uniform(0.1, 20), ends_with=r.choice((KILLED, TERMINATED, 11, 3 << 8))
    ),
    "max-requests": lambda r: Behaviour(ends_after=r.uniform(0.02, 15)),
    "ending at once": lambda r: Behaviour(ready_after=0.0, ends_after=r.choice((0.0, 0.002))),
    "forking": lambda r: Behaviour(orphans=r.randint(1, 3), ends_after=r.uniform(1, 9)),
    "exec fails": lambda r: Behaviour(exec_status=r.choice((126, 127))),
    "fork fails": lambda _: Behaviour(fails_to_spawn=True),
    "unkillable": lambda r: Behaviour(stops_after=None, killed_after=r.choice((None, 0.5, 3.0))),
    "hanging": lambda r: Behaviour(
        pings_every=0.9, hangs_after=r.uniform(0.5, 9), aborts=r.random() < 0.5, stops_after=None
    ),
    "pinging": lambda r: Behaviour(pings_every=0.9, repeats_ready=r.random() < 0.2),
}
HEALTHY = ("quick", "pinging")
MODES = ("shared", "steered", "swapped")
COUNTS = (1, 1, 2, 2, 3, 4, 6)
SIGNALS = ("HUP", "HUP", "HUP", "TTIN", "TTOU", "USR1", "WINCH", "TSTP", "CONT", "QUIT", "HUP")
MOODS = (
    (*HEALTHY, "lingering", "slow"),
    (*HEALTHY, "crashing at start", "crashing later"),
    (*HEALTHY, "stubborn", "hanging", "unkillable"),
    (*HEALTHY, *HEALTHY, "exec fails", "fork fails", "never ready"),
    (*HEALTHY, "max-requests", "ending at once", "forking"),
    ("crashing at start", "ending at once", "fork fails", "quick"),
    tuple(KINDS),
)


def draw_options(r: Random, *, is_swapped: bool) -> dict[str, Any]:
    """Draw settings. Zero is drawn often: it is where instants fall together."""
    drawn: dict[str, Any] = {
        "worker_timeout": r.choice((0.5, 2, 10)),
        "recycle_timeout": r.choice((0, 1, 2, 5)),
        "recycle_max_surge": r.choice((0, 1, 1, 2, "50%", "100%")),
        "recycle_max_unavailable": r.choice((1, 1, 2, "25%", "50%")),
        "recycle_settle": r.choice((0, 0.2, 1, 3)),
        "recycle_retries": r.choice((1, 2, 3)),
        "restart_delay": r.choice((0, 0.1, 1, 5)),
        "restart_policy": r.choice(("always",) * 8 + ("on-failure", "never")),
        "restart_limit": r.choice((0, 0, 3, 10)),
        "restart_reset": r.choice((0, 1, 10)),
        "shutdown_timeout": r.choice((0, 1, 2, 8)),
        "shutdown_delay": r.choice((0, 0, 1, 5)),
        "shutdown_margin": r.choice((0, 0.5, 1)),
    }
    if is_swapped:
        drawn |= {"bind_mode": "swapped", "recycle_max_surge": drawn["recycle_max_surge"] or 1}
    if drawn["recycle_max_surge"] not in {0, "50%"} and r.random() < 0.7:
        drawn["recycle_max_unavailable"] = 0
    drawn["worker_max_queue"] = r.choice(("off", 10, 10))
    drawn["worker_quiesce"] = r.choice((0, 0.3, 0.3, 1, 4))
    if r.random() < 0.5:
        drawn["bind"] = [":8099"]
    if r.random() < 0.4:
        drawn |= {"worker_require": "notify", "worker_watchdog": r.choice((1, 2))}
    if r.random() < 0.2:
        drawn["worker_max_age"] = r.choice((3, 12))
    drawn["signal"] = ["QUIT=ignore"]
    if r.random() < 0.1:
        drawn["signal"] = ["USR1=USR2"]
    return drawn


# --- one run -------------------------------------------------------------------------------------


class Run:
    """One seed's run: a world, its oracle, and what comes from outside."""

    def __init__(self, seed: int) -> None:
        self.random = r = Random(seed)  # noqa: S311  it shall be predictable
        mode = r.choice(MODES)
        is_steered = mode != "shared"
        self.is_swapped = mode == "swapped"
        self.drawn = draw_options(r, is_swapped=self.is_swapped)
        if is_steered:
            self.drawn["bind"] = [":8099"]
        self.count = r.choice(COUNTS)
        self.mood = r.choice(MOODS)
        self.world = world = World(DrawnOptions(**self.drawn), self.count, self._choose)
        world.keeps_history = False
        world.is_steered = is_steered
        world.next_config = self._next_config
        world.exit_seen_after = r.choice((0.0, 0.0, 0.003))
        world.waits_on = self._waits_on
        world.queue_empty_after = r.choice((0.0, 0.5, None, None))
        world.orphans_end_after = {
            "TERM": r.choice((0.0, 0.01, 2.0, None, None)),
            "KILL": r.choice((0.0, 0.0, None)),
        }
        self.oracle = Oracle(world)

    def _choose(self, _world: World, _order: Spawn) -> Behaviour:
        r = self.random
        behaviour = KINDS[r.choice(self.mood)](r)
        behaviour.seat_empties_after = r.choice((0.0, 0.0, 0.02, r.uniform(0, 4), None))
        return behaviour

    def _waits_on(self, seat: int) -> float | None:
        """Say when somebody is seen to wait on a seat that a crash has left."""
        return (None, 0.0, None, 0.4, 7.0)[seat * 7 % 5] if self.mood is not HEALTHY else None

    def _next_config(self) -> Event:
        r = self.random
        if r.random() < 0.2:
            return events.ConfigRejected(["recycle.tiemout: unknown setting"])
        if r.random() < 0.5:
            bind = {"bind": self.drawn["bind"]} if "bind" in self.drawn else {}
            drawn = draw_options(r, is_swapped=self.is_swapped)
            self.drawn = {key: value for key, value in drawn.items() if key != "bind"} | bind
        if r.random() < 0.3:
            self.count = r.choice(COUNTS)
        return events.ConfigRead(DrawnOptions(**self.drawn), self.count)

    def live(self) -> None:
        """Live through it all. Raises BrokenError."""
        r, world = self.random, self.world
        world.begin()
        self._check()
        for _ in range(r.choice((3, 8, 20, 60))):
            self._pass(r.choice((0.0, 0.01, 0.3, 1.0, 3.0, r.uniform(0, 12))))
            if world.exit is not None:
                return
            self._disturb()
            self._stick()
            self._check()
        if r.random() < 0.5:
            self._calm()
        self._end()

    def _pass(self, seconds: float) -> None:
        world, broken = self.world, self.oracle.broken
        until = world.now + seconds
        while world.exit is None and world.step(until):
            if broken:
                self._check()

    def _check(self) -> None:
        if self.oracle.broken:
            raise BrokenError(str(self.oracle.broken))

    def _stick(self) -> None:
        """Have a worker take nobody any more, or all who wait again."""
        r, world = self.random, self.world
        if world.exit is not None or not world.is_steered or r.random() < 0.7:
            return
        if self.is_swapped:
            return  # nobody looks
        if r.random() < 0.3:
            world.feed(events.QueueDrained(r.randrange(world.spawned + 1)))
        elif world.steered_to and world.pool.options.worker_max_queue:
            world.feed(events.QueueStuck(r.choice(sorted(world.steered_to)), 10))

    def _disturb(self) -> None:
        r, world = self.random, self.world
        dice = r.random()
        pids = world.pids()
        if dice < 0.55:
            world.signal(r.choice(SIGNALS))
        elif dice < 0.7 and pids:
            for pid in r.sample(pids, r.randint(1, len(pids))):
                world.kill(pid)
        elif dice < 0.75 and pids:
            world.stop(r.choice(pids))
        elif dice < 0.8:
            world.suspend(r.choice((0.5, 3.0, 30.0)))
        elif dice < 0.85:
            self._ask_again_and_again(r.randint(2, 9))
        elif dice < 0.9:
            self.mood = r.choice(MOODS)
        elif dice < 0.95 and pids:
            pid = r.choice(pids)
            world.feed(events.Announced(pid, "working"))
            world.feed(events.TooLarge(pid, 100 + pid % 7, 100))
        else:
            world.signal("INT" if r.random() < 0.2 else "WINCH", worker_has_terminal=True)

    def _ask_again_and_again(self, times: int) -> None:
        for turn in range(times):
            if turn % 2:
                self.world.feed(events.PathsChanged(["/etc/app"]))
            else:
                self.world.signal("HUP")

    def _calm(self) -> None:
        """Only healthy processes from now on: what is wanted must come to be."""
        self.mood = HEALTHY
        world, pool = self.world, self.world.pool
        for seat in list(pool.seats.stuck):
            world.feed(events.QueueDrained(seat))
        healthy = Behaviour(pings_every=0.9)
        for process in world.processes.values():
            if process.behaviour.ready_after is None or process.behaviour.killed_after is None:
                process.behaviour.killed_after = 0.0
                world.kill(process.pid)
            elif process.behaviour.pings_every is None or process.behaviour.hangs_after is not None:
                world.kill(process.pid)
            process.behaviour.stops_after = healthy.stops_after
        for _ in range(20):
            self._pass(10.0)
            policy, has_age = pool.options.restart_policy, pool.options.worker_max_age
            if pool.phase != "serving" or policy == "never" or has_age or pool.complete:
                return
            at_rest = self._at_rest()
            if all(at_rest.values()):
                return
        raise BrokenError(f"no rest in calm: {at_rest} {list(pool.everyone())}")

    def _at_rest(self) -> dict[str, bool]:
        pool = self.world.pool
        slots = pool.slots[: pool.count]
        return {
            "ready": pool.ready == pool.count,
            "live": pool.live == pool.count,
            "held": all(slot.holder is not None and slot.successor is None for slot in slots),
            "no recycle": pool.recycle is None and not pool.is_recycle_queued,
            "one generation": not any(w.is_stale for w in pool.everyone()),
            "nobody waits": not (pool.seats.waited or pool.seats.given_up),
            "no surplus": not pool.surplus and not pool.settled,
            "told": "READY=1" in self.world.told,
        }

    def _end(self) -> None:
        r, world = self.random, self.world
        if r.random() < 0.5:
            self._wait_for(r.choice(STATES))
        if world.exit is None:
            world.signal(r.choice(("TERM", "TERM", "INT")), by_terminal=r.random() < 0.5)
            self._check()
        if r.random() < 0.4:
            self._be_impatient()
        for _ in range(r.randint(0, 5)):
            self._pass(r.choice((0.0, 0.2, 1.1, 3.0)))
            if world.exit is None:
                self._insist()
                self._check()
        self._pass(100.0)
        self._check()
        if world.exit is None:
            raise BrokenError(f"no end: {world.pool.phase}")

    def _wait_for(self, state: str) -> None:
        """Let TERM come in the middle of any state."""
        world = self.world
        until = world.now + 20.0
        while world.exit is None and world.step(until):
            if any(worker.state == state for worker in world.pool.workers.values()):
                return

    def _be_impatient(self) -> None:
        for _ in range(3):
            if self.world.exit is None:
                self.world.signal("INT", by_terminal=True)
            self._check()
            self._pass(1.01)

    def _insist(self) -> None:
        r, world = self.random, self.world
        dice = r.random()
        pids = world.pids()
        if dice < 0.5:
            name = r.choice((*SIGNALS, "TERM", "WINCH"))
            world.signal(name, by_terminal=r.random() < 0.5, worker_has_terminal=r.random() < 0.5)
        elif dice < 0.9:
            world.signal("INT", by_terminal=r.random() < 0.8)
        elif dice < 0.95:
            world.feed(events.Begin())
        elif pids:
            world.feed(events.Announced(r.choice(pids), "stopping"))


def run(seed: int) -> Run:
    """Run one seed. Raises BrokenError, or whatever the core raises."""
    one = Run(seed)
    one.live()
    return one


def run_many(seeds: Iterable[int], seconds: float) -> tuple[int, int, float]:
    """Run seeds until the time is over; return seeds, lives, and lives a second of CPU.

    Raises BrokenError with the seed in it.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    ran = lives = 0
    for seed in seeds:
        try:
            lives += run(seed).oracle.lives_ended
        except Exception as error:
            raise BrokenError(f"seed {seed}: {type(error).__name__}: {error}") from error
        ran += 1
        if time.perf_counter() - began > seconds:
            break
    return ran, lives, lives / (time.process_time() - began_cpu)


# --- from the command line -----------------------------------------------------------------------


def replay(seed: int) -> str:
    """Run a seed again and write its events as a unit test."""
    one = Run(seed)
    recording = Recording(one.world.pool)
    failure = "All promises held."
    try:
        one.live()
    except Exception as error:  # noqa: BLE001  whatever it is, it is printed
        failure = f"{type(error).__name__}: {error}"
    return recording.as_test(f"seed_{seed}", failure)


def list_failures(seeds: Iterable[int], seconds: float) -> None:
    """Print every seed that fails."""
    began = time.perf_counter()
    for seed in seeds:
        try:
            run(seed)
        except Exception as error:  # noqa: BLE001  whatever it is, it is printed
            print(seed, type(error).__name__, str(error)[:300])
        if time.perf_counter() - began > seconds:
            print("last", seed)
            return


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--first", type=int, default=0, help="where to begin (default 0)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--keep-going", action="store_true", help="list all seeds that fail")
    asked = parser.parse_args()
    if asked.seed is not None:
        print(replay(asked.seed))
        return
    seeds = range(asked.first, sys.maxsize)
    if asked.keep_going:
        list_failures(seeds, asked.seconds)
        return
    ran, lives, rate = run_many(seeds, asked.seconds)
    print(f"{ran} seeds, {lives} worker lives, {rate:.0f} lives a second of CPU")


if __name__ == "__main__":
    main()
