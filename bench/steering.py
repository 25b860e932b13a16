"""Shared or steered: what bind.mode=steered costs while all is well, and what it saves at recycles.

Each server runs three times: shared, shared again, steered. They take turns within a round, with
the same arrivals, and what is judged are ratios to `shared` in the same round. "Again" is the
control: what differs there is noise, and where it differs much nothing is judged.

A queue per worker suffers more than one queue for all when something else keeps a worker from its
processor: what runs beside the measurement is no mere noise. So the report says how much that was,
and what the quieter half of the rounds has.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import programs
import rotation
import serving
from arrivals import KEPT, NEW, Generator, Mix
from cases import (
    AGAIN,
    DECIDES_AT,
    FULL_LOAD,
    MODES,
    MOST_P99,
    SHARED,
    STEERED,
    Case,
    Round,
    decide,
)
from figures import HOW_LOST
from load import Load
from measure import Scale, Subject, busy_seconds, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrivals import Stretch

WORKERS = 4
LEVELS = (0.3, DECIDES_AT, 0.9)
SLOW_PART = 0.01
WHOLE_ROUND = 6  # each sixth has all levels; the others only the one that decides
NICE = -5
BLOCK = 5  # recycles in one mode before the other has its turn
CLIENTS = 8  # of each kind, while workers are recycled
MOST_RATE = 500  # requests a second meanwhile: the servers that start take the processors


@dataclass(frozen=True)
class Server:
    """A server, and what is asked of it."""

    name: str
    command: list[str]
    cwd: Path
    share: float  # of the time: the rounds that decide are to be many
    kinds: tuple[str, ...] = (NEW, KEPT)
    decides: bool = False  # whether steered may be the default
    blocks: bool = False  # it has a path /slow that keeps a worker from all else


def servers() -> Iterator[Server]:
    """Return those that are installed."""
    python = [sys.executable, "-m"]
    uvicorn = ["uvicorn", "--log-level=warning", "--no-access-log", "--fd=3", "slow:blocking"]
    gunicorn = ["gunicorn", "--log-level=warning", "slow:one_at_a_time"]
    yield Server("uvicorn", [*python, *uvicorn], programs.HERE, 1.4, decides=True, blocks=True)
    if programs.installed("node"):
        yield Server("node http", ["node", "server.js"], serving.SERVERS, 1.0, decides=True)
    yield Server("gunicorn sync", [*python, *gunicorn], programs.HERE, 0.6, (NEW,), blocks=True)


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure the rotation, then each server."""
    subject = Subject(f"steering: {WORKERS} workers, shared beside steered", judges=scale.judges)
    cases: list[Case] = []
    losses: list[dict[str, Any]] = []
    with nicer(subject):
        rotation.measure_rotation(subject, scale.signals * 20)
        for server in servers():
            with contextlib.ExitStack() as stack:
                fleet = {mode: stack.enter_context(Pool(server, mode)) for mode in MODES}
                rounds = Rounds(server, fleet, helpers["arrivals"], scale)
                rounds.run()
                cases += rounds.cases.values()
                losses.append(lose(server, fleet, rounds.capacity[Mix(NEW)], scale))
    subject.raw["losses"] = losses
    subject.raw["cases"] = [case.summary() for case in cases]
    report(subject, cases, losses)
    return subject


@contextlib.contextmanager
def nicer(subject: Subject) -> Iterator[None]:
    """Put what is measured before what else runs, if that is allowed."""
    before = os.nice(0)
    try:
        os.nice(NICE)
    except PermissionError:
        subject.note("(not allowed to be nicer to the servers than to what else runs)")
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


class Pool(programs.Running):
    """A server under srvinit; all its workers are ready when `with` has it."""

    def __init__(self, server: Server, mode: str) -> None:
        self.port = serving.free_port()
        options = [
            f"-w{WORKERS}",
            f"-b127.0.0.1:{self.port}",
            f"--bind-mode={STEERED if mode == STEERED else SHARED}",
        ]
        # All at once, or twenty recycles take minutes: as many workers are stopped in either case
        options += ["--recycle-max-surge=100%", "--recycle-settle=200ms", "--restart-limit=0"]
        options += ["--worker-require=listen", "--worker-timeout=60s", "--"]
        super().__init__([*programs.SRVINIT, *options, *server.command], cwd=server.cwd)
        # Where each session has its share of the processors (sched(7), autogroup), nice(2) says
        # nothing beyond it.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/autogroup").write_text(str(os.nice(0)))
        self.wait_said("srvinit.ready")

    def cpu_s(self) -> float:
        """Return the CPU time of the workers that are there."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sum(cpu_seconds(int(pid)) for pid in children)

    def recycle(self, times: int) -> None:
        """Recycle all workers, several times."""
        for _ in range(times):
            self.forget()
            self.signal(signal.SIGHUP)
            self.wait_said("recycle.finished")


class Rounds:
    """The rounds of one server."""

    def __init__(self, server: Server, fleet: dict[str, Pool], helper: str, scale: Scale) -> None:
        self.cases: dict[tuple[Mix, float], Case] = {}
        self.capacity: dict[Mix, float] = {}  # requests a second in shared mode, lately
        self._server = server
        self._fleet = fleet
        self._generator = Generator(helper, {mode: pool.port for mode, pool in fleet.items()})
        self._scale = scale
        self._number = 0

    def run(self) -> None:
        """Go round until the time is over; the first round is a whole one."""
        until = time.monotonic() + self._scale.steering_s * self._server.share
        while not self._number or time.monotonic() < until:
            is_whole = self._number % WHOLE_ROUND == 0
            for kind in self._server.kinds:
                self._one_mix(Mix(kind), is_whole=is_whole)
            if is_whole and self._server.blocks:
                self._one_mix(Mix(NEW, SLOW_PART), is_whole=True)
            self._number += 1

    def _one_mix(self, mix: Mix, *, is_whole: bool) -> None:
        shift = self._number % len(MODES)
        generator = self._generator
        order = [*MODES[shift:], *MODES[:shift]]  # who begins changes every round
        # Anew each round: what a server can do changes with what runs beside it
        with self._round(mix, FULL_LOAD, keep=is_whole) as given:
            for mode in order if is_whole else (SHARED,):
                given[mode] = generator.saturate(mode, mix, self._scale.saturation_s)
        capacity = self.capacity[mix] = given[SHARED].per_second
        levels: tuple[float, ...] = LEVELS if is_whole else (DECIDES_AT,)
        slices = self._scale.slices
        if mix.slow_part:
            slices *= 3  # or hardly one would be slow
            levels = LEVELS[:-1]
        for level in levels:
            rate = level * capacity
            with self._round(mix, level) as given:
                given.update(generator.take_turns(order, mix, rate, slices, self._number))

    @contextlib.contextmanager
    def _round(self, mix: Mix, level: float, *, keep: bool = True) -> Iterator[dict[str, Stretch]]:
        """Take what each mode gave in this round, and what else the machine did meanwhile."""
        server = self._server
        decides = server.decides and not mix.slow_part and level == DECIDES_AT
        case = self.cases.setdefault((mix, level), Case(server.name, mix, level, decides))
        given: dict[str, Stretch] = {}
        at, before = time.monotonic(), busy_seconds() - self._our_cpu_s()
        yield given
        others_s = busy_seconds() - self._our_cpu_s() - before
        share = others_s / (time.monotonic() - at) / (os.cpu_count() or 1)
        if keep:
            case.rounds.append(Round(given, others=max(0.0, share)))

    def _our_cpu_s(self) -> float:
        """Return the CPU time of the workers, of the load, and of this process."""
        return sum(os.times()[:4]) + sum(pool.cpu_s() for pool in self._fleet.values())


def lose(server: Server, fleet: dict[str, Pool], capacity: float, scale: Scale) -> dict[str, Any]:
    """Recycle under load, in turns; return what was lost in each mode, by kind of connection."""
    rate = min(MOST_RATE, LEVELS[0] * capacity)
    clients = {NEW: CLIENTS, KEPT: CLIENTS if KEPT in server.kinds else 0}
    blocks = -(-scale.steering_recycles // BLOCK)
    found = {(mode, kind): Counter[str]() for mode in (SHARED, STEERED) for kind in server.kinds}
    for number in range(blocks):
        for mode in (SHARED, STEERED) if number % 2 else (STEERED, SHARED):
            with Load(fleet[mode].port, rate=rate, **clients) as load:
                load.wait_requests(int(rate / 4))
                fleet[mode].recycle(scale.steering_recycles // blocks)
                figures = load.stop()
            for kind in server.kinds:
                counts = {how: figures[kind][how] for how in ("requests", *HOW_LOST, "status_5xx")}
                found[mode, kind] += Counter(counts)
    modes = {mode: {kind: dict(found[mode, kind]) for kind in server.kinds} for mode, _ in found}
    recycles = blocks * (scale.steering_recycles // blocks)
    return {"server": server.name, "recycles": recycles, "per_second": round(rate), **modes}


def report(subject: Subject, cases: list[Case], losses: list[dict[str, Any]]) -> None:
    """Say it all in tables, and what follows for the default."""
    subject.note(
        "p99 in ms, at saturation requests a second: medians, ratios to shared in the same"
    )
    subject.note("round, and between what the true median lies 19 times in 20; [the quieter half]")
    subject.note(HEAD)
    for case in cases:
        subject.note(line_of(case))
    for row in losses:
        subject.note(
            f"{row['server']}, {row['recycles']} recycles at {row['per_second']} requests a second"
        )
        for mode in (SHARED, STEERED):
            for kind, counts in row[mode].items():
                lost = [f"{count} {how}" for how, count in counts.items() if how != "requests"]
                told = ", ".join(lost) or "none"
                subject.note(f"  {mode:8}{kind:5}{counts['requests']:6} requests; lost: {told}")
    verdict = subject.raw["verdict"] = decide(cases)
    if verdict.startswith("unfit"):
        subject.note(f"This run cannot decide about the default: {verdict}")
        return
    subject.target(
        f"event loops at {DECIDES_AT:.0%}: p99 at most {MOST_P99:g} times shared ({verdict})",
        met=verdict == "yes",
    )


HEAD = (
    f"{'':44}{'shared':>8}{'steered':>9}  {'ratio':29}{'shared beside itself':24}"
    f"{'p50':>12}{'p99.9':>14}  n  others"
)


def line_of(case: Case) -> str:
    """Say what was found of one case."""
    load = "saturation" if case.level == FULL_LOAD else f"{case.level:.0%}"
    slow = f", {case.mix.slow_part:.0%} slow" if case.mix.slow_part else ""
    name = f"{case.server}, {case.mix.kind}{slow}, {load}"
    found = case.summary()
    row = found["modes"]
    shared, steered = row[SHARED], row[STEERED]
    ratios = []
    for mode in (STEERED, AGAIN):
        low, high = row[mode]["ratio_95"]
        ratios.append(f"{row[mode]['ratio']:6.2f} ({low:.2f}..{high:.2f})")
    more = [f"{shared[part]:.1f}/{steered[part]:.1f}" for part in ("p50_ms", "p99.9_ms")]
    quieter = f"[{steered['ratio_quieter_half']:.2f}]"
    return (
        f"{name:44}{shared['figure']:8.1f}{steered['figure']:9.1f}"
        f"{ratios[0]:>22} {quieter:8}{ratios[1]:>22}  "
        f"{more[0]:>12}{more[1]:>14} {len(case.rounds):3} {found['others']:5.0%}"
    )
