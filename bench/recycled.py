"""What a recycle costs in each bind.mode: requests that are lost, latency, memory and time."""

from __future__ import annotations

import statistics
import threading
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from arrivals import KEPT, NEW
from cases import COMPARED
from figures import HOW_LOST
from fleet import Pool
from load import Load

if TYPE_CHECKING:
    from typing import Self

    from fleet import Server
    from measure import Scale

BLOCK = 5  # recycles in one mode before the next has its turn
CLIENTS = 8  # of each kind, while workers are recycled
RATE = 500  # requests a second meanwhile: the servers that start take the processors
LOOK_EVERY_S = 0.02
MIB = 1 << 20
COUNTED = ("requests", *HOW_LOST, "status_5xx")


def lose(server: Server, scale: Scale) -> dict[str, Any]:
    """Recycle under load, in turns; return what was lost in each mode, by kind of connection."""
    clients = {NEW: CLIENTS, KEPT: CLIENTS if KEPT in server.kinds else 0}
    blocks = -(-scale.steering_recycles // BLOCK)
    times = scale.steering_recycles // blocks
    found = {(mode, kind): Counter[str]() for mode in COMPARED for kind in server.kinds}
    p99_ms: dict[str, list[float]] = {mode: [] for mode in COMPARED}
    with ExitStack() as stack:
        fleet = {mode: stack.enter_context(Pool(server, mode)) for mode in COMPARED}
        for number in range(blocks):
            shift = number % len(COMPARED)
            for mode in (*COMPARED[shift:], *COMPARED[:shift]):
                with Load(fleet[mode].port, rate=RATE, **clients) as load:
                    load.wait_requests(RATE // 4)
                    load.phase("recycle")
                    for _ in range(times):
                        fleet[mode].recycle()
                    figures = load.stop()
                p99_ms[mode].append(figures["phases"]["recycle"]["p99_ms"])
                for kind in server.kinds:
                    counts = {how: figures[kind][how] for how in COUNTED}
                    found[mode, kind] += Counter(counts)
    return {
        "server": server.name,
        "recycles": blocks * times,
        "per_second": RATE,
        "p99_ms": {mode: statistics.median(p99_ms[mode]) for mode in COMPARED},
        **{mode: {kind: dict(found[mode, kind]) for kind in server.kinds} for mode in COMPARED},
    }


def weigh(server: Server) -> dict[str, Any]:
    """Recycle once in each mode, by default settings; return memory before and meanwhile."""
    modes = {}
    for mode in COMPARED:
        with Pool(server, mode, recycling=()) as pool:
            before = pool.memory_bytes()
            with Peak(pool) as peak:
                took_s = pool.recycle()
        modes[mode] = {
            "steady_mib": round(before / MIB, 1),
            "most_mib": round(peak.most / MIB, 1),
            "took_s": round(took_s, 1),
        }
    return {"server": server.name, **modes}


class Peak:
    """The most memory that all workers together had within a `with`."""

    def __init__(self, pool: Pool) -> None:
        self.most = 0
        self._pool = pool
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_EVERY_S):
            self.most = max(self.most, self._pool.memory_bytes())
