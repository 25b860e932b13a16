"""Every metric: its name, type, labels and meaning, in one table; and how a status becomes them.

docs/metrics.md is made from the table. Names follow Prometheus: base units, `_total` for counters.
What srvinit counts is in its published status; what only the kernel knows (memory, CPU, queues) is
read by who asks and handed in. Nothing here reads anything, and nothing costs PID 1 a thing.

A slot's CPU time is added up here, from scrape to scrape, so that it goes on when a worker is
replaced; what a worker used between the last scrape and its end is lost.
"""

from __future__ import annotations

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Protocol

    from srvinit.report.exposition import Exposition

    Sample = tuple[tuple[str, ...], Any]

    class Use(Protocol):
        """What the processes of a worker use together: kernel/usage.py."""

        processes: int
        rss_bytes: int
        pss_bytes: int | None
        user_s: float
        system_s: float
        started_ticks: int


class Metric(Record):
    """One row: `kind` is counter, gauge, info or summary; `labels` are names, by blanks."""

    kind: str
    meaning: str
    labels: str = ""


# What stands in a label, and is there from the start, so that a rate begins at nought.
STATES = (
    "starting",
    "ready",
    "settled",
    "proven",
    "quiescing",
    "stopping",
    "aborting",
    "killing",
)
PHASES = ("serving", "draining", "stopping", "sweeping")

METRICS = {
    # --- srvinit itself ------------------------------------------------------------------------
    "srvinit": Metric("info", "Which srvinit this is; always 1.", "version"),
    "srvinit_start_time_seconds": Metric("gauge", "When srvinit started, in unix seconds."),
    "srvinit_ready": Metric("gauge", "1 while traffic should come here, as /readyz says."),
    "srvinit_phase": Metric("gauge", "1 for the phase srvinit is in, 0 for the others.", "phase"),
    "srvinit_generation": Metric("gauge", "The generation that workers are started in."),
    "srvinit_cpu_seconds": Metric(
        "counter", "CPU time of srvinit's own process, without its workers.", "mode"
    ),
    "srvinit_resident_memory_bytes": Metric(
        "gauge", "Resident memory of srvinit's own process, files that it shares included."
    ),
    # --- workers -------------------------------------------------------------------------------
    "srvinit_workers_wanted": Metric("gauge", "How many workers there should be."),
    "srvinit_workers": Metric("gauge", "Workers that live, by state.", "state"),
    "srvinit_workers_serving": Metric("gauge", "Workers that are ready and are to go on."),
    "srvinit_workers_started": Metric("counter", "Workers ever started."),
    "srvinit_worker_restarts": Metric(
        "counter", "Workers started in place of one that ended by itself, by reason.", "reason"
    ),
    "srvinit_worker_kills": Metric(
        "counter", "Workers whose group got SIGKILL: too late to be ready, or to stop."
    ),
    "srvinit_worker_oom_kills": Metric(
        "counter", "Workers that the kernel killed for lack of memory."
    ),
    "srvinit_worker_spawn_failures": Metric("counter", "Workers that could not be forked."),
    "srvinit_worker_failures_in_row": Metric(
        "gauge", "Failures in a row; srvinit gives up at restart.limit."
    ),
    "srvinit_worker_processes": Metric("gauge", "Processes of the slot's workers.", "slot"),
    "srvinit_worker_resident_memory_bytes": Metric(
        "gauge",
        "Resident memory of the slot's processes; pages that several share count for each.",
        "slot",
    ),
    "srvinit_worker_proportional_memory_bytes": Metric(
        "gauge",
        "The same with each shared page divided by how many share it (PSS): what they really take."
        " Read seldom; missing where the kernel does not tell.",
        "slot",
    ),
    "srvinit_worker_accept_queue_length": Metric(
        "gauge",
        "Connections that wait for the slot's workers alone, at any address: where each has a queue"
        " of its own (bind.mode=steered).",
        "slot",
    ),
    "srvinit_worker_cpu_seconds": Metric(
        "counter", "CPU time of the slot's processes, one worker after another.", "slot mode"
    ),
    # --- recycle and shutdown ------------------------------------------------------------------
    "srvinit_recycles": Metric("counter", "Recycles that have ended, by outcome.", "outcome"),
    "srvinit_recycle_running": Metric("gauge", "1 while a recycle is under way."),
    "srvinit_recycle_duration_seconds": Metric(
        "summary", "How long the recycles took that replaced all they were to."
    ),
    "srvinit_recycle_last_duration_seconds": Metric("gauge", "How long the last of them took."),
    "srvinit_shutting_down": Metric("gauge", "1 since srvinit was asked to stop."),
    "srvinit_shutdown_elapsed_seconds": Metric(
        "gauge", "Time since srvinit was asked to stop; only while it does."
    ),
    "srvinit_shutdown_remaining_seconds": Metric(
        "gauge", "Time until srvinit has ended, whatever its workers do; only while it stops."
    ),
    # --- what is around ------------------------------------------------------------------------
    "srvinit_orphans_reaped": Metric("counter", "Processes reaped that were no workers."),
    "srvinit_log_lines_dropped": Metric(
        "counter", "Log lines lost, since nobody read them or the device was full."
    ),
    "srvinit_accept_queue_length": Metric(
        "gauge", "Connections that wait for a worker to accept them.", "address"
    ),
    "srvinit_accept_queue_limit": Metric(
        "gauge", "How many may wait (bind.backlog, cut to net.core.somaxconn).", "address"
    ),
    "srvinit_listen_overflows": Metric(
        "counter",
        "Connections refused since an accept queue was full, in the whole network namespace"
        " (ListenOverflows).",
    ),
    "srvinit_listen_drops": Metric(
        "counter",
        "Connections dropped before they were accepted, for whatever reason, in the whole network"
        " namespace (ListenDrops).",
    ),
}


class Readings(Record):
    """What the kernel tells at this moment. Inodes are those of the status's sockets."""

    now: float  # unix seconds
    workers: Mapping[int, Use]  # by pid; those that ended since the status are missing
    own: Use | None
    queues: Mapping[int, int]  # connections that wait, by inode
    longest_queue: int  # net.core.somaxconn; 0: unknown
    listen_overflows: int | None
    listen_drops: int | None


class Accounts:
    """Adds up what the workers of each slot have used, one after another."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[float, float]] = {}
        self._seen: dict[tuple[int, int], tuple[float, float]] = {}  # by pid and start

    def add(self, slots: Mapping[int, int], uses: Mapping[int, Use]) -> dict[int, Sample]:
        """Take in what was read (slots by pid) and return user and system seconds by slot."""
        seen = {}
        for pid, slot in slots.items():
            if pid in uses:
                use = uses[pid]
                key, times = (pid, use.started_ticks), (use.user_s, use.system_s)
                before, total = self._seen.get(key, (0.0, 0.0)), self._slots.get(slot, (0.0, 0.0))
                # A process of its family that ended unreaped, or left, takes its time along.
                self._slots[slot] = (
                    total[0] + max(0.0, times[0] - before[0]),
                    total[1] + max(0.0, times[1] - before[1]),
                )
                seen[key] = times
        self._seen = seen
        return self._slots  # type: ignore[return-value]


def samples(
    status: Mapping[str, Any], readings: Readings, accounts: Accounts
) -> Iterator[tuple[str, list[Sample]]]:
    """Make the samples of each metric, in the order of the table: its labels' values, and a number.

    `status` is the document of report/status.py. A summary's number is (count, sum), an info's is
    its labels.
    """
    made = {
        **_of_srvinit(status, readings),
        **_of_workers(status),
        **_of_slots(status, readings, accounts),
        **_of_recycles(status),
        **_of_the_end(status, readings),
        **_of_sockets(status, readings),
    }
    for name in METRICS:
        yield name, made[name]


def _one(value: Any) -> list[Sample]:
    """Make the sample of a metric without labels; none where there is no value."""
    return [] if value is None else [((), value)]


def _chosen(one: str, all_of_them: tuple[str, ...]) -> list[Sample]:
    return [((name,), int(name == one)) for name in all_of_them]


def _of_srvinit(status: Mapping[str, Any], readings: Readings) -> dict[str, list[Sample]]:
    own, counters = readings.own, status["counters"]
    times = [] if own is None else [(("user",), own.user_s), (("system",), own.system_s)]
    return {
        "srvinit": [((), {"version": status["version"]})],
        "srvinit_start_time_seconds": _one(status["started_at"]),
        "srvinit_ready": _one(int(status["ready"])),
        "srvinit_phase": _chosen(status["phase"], PHASES),
        "srvinit_generation": _one(status["generation"]),
        "srvinit_cpu_seconds": times,  # type: ignore[dict-item]
        "srvinit_resident_memory_bytes": _one(None if own is None else own.rss_bytes),
        "srvinit_orphans_reaped": _one(counters["orphans_reaped"]),
        "srvinit_log_lines_dropped": _one(counters["log_lines_dropped"]),
    }


def _of_workers(status: Mapping[str, Any]) -> dict[str, list[Sample]]:
    counters = status["counters"]
    states = dict.fromkeys(STATES, 0)
    for worker in status["workers"]:
        states[worker["state"]] += 1
    restarts = counters["restarts"]
    return {
        "srvinit_workers_wanted": _one(status["count"]),
        "srvinit_workers": [((state,), number) for state, number in states.items()],
        "srvinit_workers_serving": _one(status["serving"]),
        "srvinit_workers_started": _one(counters["workers_started"]),
        "srvinit_worker_restarts": [((reason,), number) for reason, number in restarts.items()],
        "srvinit_worker_kills": _one(counters["kills"]),
        "srvinit_worker_oom_kills": _one(counters["oom_kills"]),
        "srvinit_worker_spawn_failures": _one(counters["spawn_failures"]),
        "srvinit_worker_failures_in_row": _one(status["failures_in_row"]),
    }


def _of_slots(
    status: Mapping[str, Any], readings: Readings, accounts: Accounts
) -> dict[str, list[Sample]]:
    """Add up the workers of each slot: there are two while one replaces the other."""
    slots = {worker["pid"]: worker["slot"] for worker in status["workers"]}
    processes: dict[int, int] = {}
    resident: dict[int, int] = {}
    proportional: dict[int, int] = {}
    for pid, slot in sorted(slots.items(), key=lambda item: item[1]):
        if pid in readings.workers:
            use = readings.workers[pid]
            processes[slot] = processes.get(slot, 0) + use.processes
            resident[slot] = resident.get(slot, 0) + use.rss_bytes
            if use.pss_bytes is not None:
                proportional[slot] = proportional.get(slot, 0) + use.pss_bytes
    times = sorted(accounts.add(slots, readings.workers).items())
    return {
        "srvinit_worker_processes": _by_slot(processes),
        "srvinit_worker_resident_memory_bytes": _by_slot(resident),
        "srvinit_worker_proportional_memory_bytes": _by_slot(proportional),
        "srvinit_worker_cpu_seconds": [
            ((str(slot), mode), round(value, 2))
            for slot, used in times
            for mode, value in zip(("user", "system"), used, strict=True)
        ],
    }


def _by_slot(values: Mapping[int, int]) -> list[Sample]:
    return [((str(slot),), value) for slot, value in values.items()]


def _of_recycles(status: Mapping[str, Any]) -> dict[str, list[Sample]]:
    recycles, counters = status["recycles"], status["counters"]
    outcomes = counters["recycles"]
    took = [one["seconds"] for one in recycles["ended"] if one["seconds"] is not None]
    return {
        "srvinit_recycles": [((outcome,), number) for outcome, number in outcomes.items()],
        "srvinit_recycle_running": _one(int(recycles["running"] is not None)),
        "srvinit_recycle_duration_seconds": _one(
            (outcomes["finished"], counters["recycle_seconds"])
        ),
        "srvinit_recycle_last_duration_seconds": _one(took[-1] if took else None),
    }


def _of_the_end(status: Mapping[str, Any], readings: Readings) -> dict[str, list[Sample]]:
    end = status["shutdown"]
    elapsed = remaining = None
    if end is not None:
        elapsed = round(max(0.0, readings.now - end["began_at"]), 3)
        remaining = round(max(0.0, end["by"] - readings.now), 3)
    return {
        "srvinit_shutting_down": _one(int(end is not None)),
        "srvinit_shutdown_elapsed_seconds": _one(elapsed),
        "srvinit_shutdown_remaining_seconds": _one(remaining),
    }


def _of_sockets(status: Mapping[str, Any], readings: Readings) -> dict[str, list[Sample]]:
    """Add up the sockets of each address: steered, each worker has one."""
    backlog, longest = status["settings"]["bind.backlog"], readings.longest_queue
    limit = min(backlog or longest, longest)  # the kernel cuts it
    lengths: dict[str, int] = {}
    limits: dict[str, int] = {}
    own: dict[int, int] = {}
    slots = _seated(status)
    for socket in status["sockets"]:
        address, inode = socket["address"], socket["inode"]
        if inode in readings.queues:
            lengths[address] = lengths.get(address, 0) + readings.queues[inode]
            if (slot := slots.get(socket["seat"])) is not None:
                own[slot] = own.get(slot, 0) + readings.queues[inode]
            if limit:
                limits[address] = limits.get(address, 0) + limit
    return {
        "srvinit_accept_queue_length": [((it,), number) for it, number in lengths.items()],
        "srvinit_accept_queue_limit": [((it,), number) for it, number in limits.items()],
        "srvinit_worker_accept_queue_length": _by_slot(dict(sorted(own.items()))),
        "srvinit_listen_overflows": _one(readings.listen_overflows),
        "srvinit_listen_drops": _one(readings.listen_drops),
    }


def _seated(status: Mapping[str, Any]) -> dict[int, int]:
    """Say which slot's each seat is, of those that are one slot's alone."""
    found: dict[int, set[int]] = {}
    for worker in status["workers"]:
        if worker["seat"] is not None:
            found.setdefault(worker["seat"], set()).add(worker["slot"])
    return {seat: slots.pop() for seat, slots in found.items() if len(slots) == 1}


class Collector:
    """One scrape, as prometheus_client's formats ask for it."""

    def __init__(self, exposition: Exposition, made: Iterator[tuple[str, list[Sample]]]) -> None:
        self._families = [_family(exposition, name, found) for name, found in made]

    def collect(self) -> list[Any]:
        """Return the families."""
        return self._families


def _family(exposition: Exposition, name: str, found: list[Sample]) -> Any:
    row = METRICS[name]
    labels = () if row.kind == "info" else tuple(row.labels.split())
    family = exposition.families[row.kind](name, row.meaning, labels=labels)
    for values, number in found:
        if row.kind == "summary":
            family.add_metric(values, count_value=number[0], sum_value=number[1])
        else:
            family.add_metric(values, number)
    return family
