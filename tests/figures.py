"""What tests/load.py counts, and the summary it gives: one dictionary, ready for JSON.

seconds, requests, per_second, longest_gap_ms (the longest time in which nobody was answered)
new, kept   counts: requests, ok, lost, and by which way lost; 5xx; see load.py for the words
phases      by name: seconds, requests, lost_new, lost_kept, p50_ms ... max_ms, longest_gap_ms
workers     answers by the pid in their body
losses      the first of them, with the time, to be found again in the log; worker is whose
            connection it was, where that is known
"""

from __future__ import annotations

import datetime as dt
import time
from array import array
from collections import Counter
from typing import Any, Protocol

NEW, KEPT = "new", "kept"
HOW_LOST = ("refused", "reset", "no_answer", "cut", "timeout")
LOSSES_SHOWN = 50


class Request(Protocol):
    """What is counted of a request: whose it is, when it began, and what came before it."""

    kind: str
    began: float
    answered: int  # requests answered before on the same connection
    worker: str  # the body of the last of those: the pid, where servers answer with theirs


class Figures:
    """What is counted, and what it says when it is over."""

    def __init__(self) -> None:
        self.started = self.last_answer = time.perf_counter()
        self.counts = {NEW: Counter[str](), KEPT: Counter[str]()}
        self.workers = Counter[str]()
        self.losses: list[dict[str, Any]] = []
        self.phase = Phase("steady")
        self.phases = {"steady": self.phase}
        self.phase.entered = self.started

    @property
    def ended(self) -> int:
        """Requests answered or lost so far."""
        return self.counts[NEW]["requests"] + self.counts[KEPT]["requests"]

    def enter(self, name: str) -> None:
        """Count what ends from now on for the phase of that name."""
        now = time.perf_counter()
        self.phase.seconds += now - self.phase.entered
        self.phase = self.phases.setdefault(name, Phase(name))
        self.phase.entered = now

    def answer(self, request: Request, now: float, status: bytes, body: bytes) -> None:
        """Count a whole answer."""
        counts = self.counts[request.kind]
        counts["requests"] += 1
        self.phase.latencies.append(now - request.began)
        if status[:1] == b"2":
            counts["ok"] += 1
            self.phase.longest_gap = max(self.phase.longest_gap, now - self.last_answer)
            self.last_answer = now
            if body.rstrip().isdigit():
                self.workers[body.strip().decode()] += 1
        else:
            counts["status_5xx" if status[:1] == b"5" else "status_other"] += 1
            self._note(request, f"status {status.decode(errors='replace')}")

    def loss(self, request: Request, how: str) -> None:
        """Count a request that never got its answer."""
        counts = self.counts[request.kind]
        counts["requests"] += 1
        counts[how] += 1
        counts["lost"] += 1
        counts["lost_on_idle"] += request.answered > 0
        self.phase.lost[request.kind] += 1
        self._note(request, how)

    def summary(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        now = time.perf_counter()
        self.phase.longest_gap = max(self.phase.longest_gap, now - self.last_answer)
        self.enter(self.phase.name)
        phases = {name: phase.summary() for name, phase in self.phases.items()}
        names = ("requests", "ok", "lost", *HOW_LOST, "status_5xx", "status_other")
        kept_too = ("lost_on_idle", "closed_idle", "connections")
        return {
            "seconds": round(now - self.started, 3),
            "requests": self.ended,
            "per_second": round(self.ended / (now - self.started), 1),
            NEW: {name: self.counts[NEW][name] for name in names},
            KEPT: {name: self.counts[KEPT][name] for name in (*names, *kept_too)},
            "longest_gap_ms": max(phase["longest_gap_ms"] for phase in phases.values()),
            "phases": phases,
            "workers": dict(self.workers),
            "losses": self.losses,
        }

    def _note(self, request: Request, how: str) -> None:
        if len(self.losses) < LOSSES_SHOWN:
            at = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
            kind, answered = request.kind, request.answered
            worker = request.worker[:20] if answered else None
            loss = {"at": at, "kind": kind, "how": how, "answered_before": answered}
            self.losses.append({**loss, "worker": worker, "phase": self.phase.name})


class Phase:
    """A stretch of time with figures of its own; it may be entered again and goes on then."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entered = 0.0
        self.seconds = 0.0
        self.latencies = array("d")
        self.longest_gap = 0.0
        self.lost: Counter[str] = Counter()

    def summary(self) -> dict[str, Any]:
        """Return the phase's figures; a quantile is that of the answered requests alone."""
        ordered = sorted(self.latencies)

        def quantile_ms(part: float) -> float | None:
            rank = min(int(part * len(ordered)), len(ordered) - 1)
            return round(ordered[rank] * 1000, 3) if ordered else None

        return {
            "seconds": round(self.seconds, 3),
            "requests": len(ordered) + self.lost.total(),
            "lost_new": self.lost[NEW],
            "lost_kept": self.lost[KEPT],
            "p50_ms": quantile_ms(0.5),
            "p99_ms": quantile_ms(0.99),
            "p999_ms": quantile_ms(0.999),
            "max_ms": quantile_ms(1),
            "longest_gap_ms": round(self.longest_gap * 1000, 3),
        }
