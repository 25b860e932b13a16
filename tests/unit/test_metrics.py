"""Metrics: the table, what becomes of a status, and what prometheus_client makes of it."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from srvinit.kernel.usage import Usage
from srvinit.lifecycle import ending, worker
from srvinit.report import exposition, metrics
from srvinit.report.metrics import METRICS, Accounts, Collector, Readings

DOCS = Path(__file__).parents[2] / "docs"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def one_worker(
    slot: int, pid: int, state: str = "proven", generation: int = 1, seat: int | None = None
) -> dict[str, Any]:
    return {"slot": slot, "pid": pid, "state": state, "generation": generation, "seat": seat}


def one_socket(inode: int, **more: Any) -> dict[str, Any]:
    return {"address": ":8080", "kind": "tcp", "inode": inode, "seat": None} | more


def status(**more: Any) -> dict[str, Any]:
    """Return a status as report/status.py publishes it, as far as metrics are made of it."""
    return {
        "version": "1.2.3",
        "ready": True,
        "phase": "serving",
        "started_at": 1000.5,
        "generation": 3,
        "count": 2,
        "serving": 2,
        "failures_in_row": 0,
        "shutdown": None,
        "settings": {"bind.backlog": 100},
        "recycles": {"running": None, "ended": []},
        "counters": {
            "workers_started": 9,
            "restarts": {"crash": 4, "clean-exit": 1},
            "recycles": {"finished": 2, "failed": 1, "abandoned": 0},
            "recycle_seconds": 7.5,
            "spawn_failures": 0,
            "kills": 2,
            "oom_kills": 1,
            "orphans_reaped": 11,
            "log_lines_dropped": 5,
        },
        "sockets": [one_socket(71, seat=0)],
        "workers": [one_worker(0, 21, seat=0), one_worker(1, 22, seat=1)],
    } | more


def use(
    user_s: float = 1.0, *, rss: int = 100, pss: int | None = 40, started: int = 1, members: int = 1
) -> Usage:
    return Usage(members, rss, pss, user_s, 0.5, started)


def readings(**more: Any) -> Readings:
    told: dict[str, Any] = {
        "now": 2000.0,
        "workers": {21: use(), 22: use()},
        "own": use(0.25),
        "queues": {71: 3},
        "longest_queue": 4096,
        "listen_overflows": 6,
        "listen_drops": 7,
    }
    return Readings(**told | more)


def made(
    found: dict[str, Any], read: Readings | None = None, accounts: Accounts | None = None
) -> dict[str, dict[tuple[str, ...], Any]]:
    read, accounts = read or readings(), accounts or Accounts()
    return {name: dict(they) for name, they in metrics.samples(found, read, accounts)}


FULL = status(
    shutdown={"began_at": 1990.0, "by": 2012.5},
    phase="draining",
    recycles={"running": {}, "ended": [{"seconds": 2.5}, {"seconds": None}]},
)


# --- the table -----------------------------------------------------------------------------------


def test_there_is_a_sample_of_every_metric_and_of_no_other() -> None:
    found = made(FULL)

    assert list(found) == list(METRICS)
    assert [name for name, they in found.items() if not they] == []


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_named_as_prometheus_has_it(name: str) -> None:
    row = METRICS[name]

    assert re.fullmatch(r"srvinit(_[a-z]+)*", name)
    assert not name.endswith(("_total", "_info", "_count", "_sum")), "the format adds that"
    assert row.kind in {"counter", "gauge", "info", "summary"}
    assert row.meaning.endswith(".")
    for unit in ("_ms", "_kb", "_percent", "_milliseconds", "_minutes"):
        assert unit not in name


def test_states_and_phases_are_those_of_the_core() -> None:
    assert set(metrics.STATES) == set(worker.STATES) - {worker.SPAWNING, worker.GONE}
    assert tuple(phase for phase in ending.PHASES if phase != ending.DONE) == metrics.PHASES


def test_the_page_in_docs_is_that_of_the_table() -> None:
    generated = runpy.run_path(str(DOCS / "generate_metrics.py"))

    assert (DOCS / "metrics.md").read_text() == generated["markdown"]()


# --- what becomes of a status --------------------------------------------------------------------


def test_workers_are_counted_by_state_and_no_state_is_missing() -> None:
    found = made(status(workers=[one_worker(0, 21, "ready"), one_worker(0, 22, "stopping")]))

    states = found["srvinit_workers"]
    assert states["ready",] == 1
    assert states["stopping",] == 1
    assert states["proven",] == 0
    assert len(states) == len(metrics.STATES)


def test_a_slot_has_the_sum_of_its_workers_while_one_replaces_the_other() -> None:
    workers = [one_worker(0, 21), one_worker(0, 23, "ready", 2), one_worker(1, 22)]
    uses = {21: use(rss=100, members=2), 22: use(rss=7), 23: use(rss=50, pss=2)}

    found = made(status(workers=workers), readings(workers=uses))

    assert found["srvinit_worker_resident_memory_bytes"] == {("0",): 150, ("1",): 7}
    assert found["srvinit_worker_proportional_memory_bytes"] == {("0",): 42, ("1",): 40}
    assert found["srvinit_worker_processes"] == {("0",): 3, ("1",): 1}


def test_a_worker_that_has_ended_meanwhile_is_left_out() -> None:
    found = made(status(), readings(workers={21: use()}))

    assert found["srvinit_worker_resident_memory_bytes"] == {("0",): 100}


def test_memory_that_is_not_told_is_left_out() -> None:
    found = made(status(), readings(workers={21: use(pss=None), 22: use()}))

    assert found["srvinit_worker_proportional_memory_bytes"] == {("1",): 40}


def test_the_cpu_time_of_a_slot_goes_on_when_its_worker_is_replaced() -> None:
    """A counter never goes back, and never jumps by what the other worker had used."""
    accounts = Accounts()

    def user_s(workers: list[dict[str, Any]], uses: dict[int, Usage]) -> float:
        found = made(status(workers=workers), readings(workers=uses), accounts)
        seconds: float = found["srvinit_worker_cpu_seconds"]["0", "user"]
        return seconds

    old, new = one_worker(0, 21), one_worker(0, 23)
    assert user_s([old], {21: use(10)}) == 10
    assert user_s([old, new], {21: use(11), 23: use(2)}) == 13
    assert user_s([new], {23: use(3)}) == 14
    assert user_s([], {}) == 14
    assert user_s([old], {21: use(1, started=9)}) == 15, "the same pid, another process"
    assert user_s([old], {21: use(0.5, started=9)}) == 15, "a child of it left unreaped"


def test_the_queues_of_an_address_are_added_up_and_so_are_their_limits() -> None:
    sockets = [one_socket(71), one_socket(72, seat=1), one_socket(73, address=":81")]

    found = made(status(sockets=sockets), readings(queues={71: 1, 72: 2, 73: 4}))

    assert found["srvinit_accept_queue_length"] == {(":8080",): 3, (":81",): 4}
    assert found["srvinit_accept_queue_limit"] == {(":8080",): 200, (":81",): 100}


def test_a_queue_of_ones_own_is_told_by_slot() -> None:
    """Those of its worker and of the one that replaces it; what several share is nobody's."""
    workers = [one_worker(0, 21, seat=5), one_worker(0, 22, seat=6), one_worker(1, 23, seat=7)]
    workers += [one_worker(2, 24, seat=8), one_worker(3, 25, seat=8), one_worker(4, 26, seat=None)]
    seats = {71: 5, 72: 6, 73: 7, 74: 7, 75: 8, 76: None, 77: 9}
    sockets = [one_socket(inode, seat=seat) for inode, seat in seats.items()]

    found = made(status(workers=workers, sockets=sockets), readings(queues=dict.fromkeys(seats, 2)))

    assert found["srvinit_worker_accept_queue_length"] == {("0",): 4, ("1",): 4}


@pytest.mark.parametrize(
    ("backlog", "longest", "limit"),
    [(None, 4096, 4096), (9999, 4096, 4096), (5, 4096, 5), (None, 0, None), (9, 0, None)],
)
def test_no_queue_is_longer_than_the_kernel_lets_any_be(
    backlog: int | None, longest: int, limit: int | None
) -> None:
    found = made(status(settings={"bind.backlog": backlog}), readings(longest_queue=longest))

    assert found["srvinit_accept_queue_limit"].get((":8080",)) == limit


def test_a_socket_whose_queue_nobody_tells_is_left_out() -> None:
    unix = one_socket(74, address="unix:/run/it", kind="unix")

    found = made(status(sockets=[unix]), readings(queues={}, listen_drops=None))

    assert found["srvinit_accept_queue_length"] == {}
    assert found["srvinit_listen_drops"] == {}


def test_a_shutdown_tells_how_long_it_has_taken_and_may_take() -> None:
    found = made(FULL)

    assert found["srvinit_shutting_down"] == {(): 1}
    assert found["srvinit_shutdown_elapsed_seconds"] == {(): 10.0}
    assert found["srvinit_shutdown_remaining_seconds"] == {(): 12.5}
    assert made(status())["srvinit_shutdown_elapsed_seconds"] == {}


def test_recycles_are_told_by_outcome_and_the_last_that_replaced_all_by_its_time() -> None:
    found = made(FULL)

    assert found["srvinit_recycles"] == {("finished",): 2, ("failed",): 1, ("abandoned",): 0}
    assert found["srvinit_recycle_duration_seconds"] == {(): (2, 7.5)}
    assert found["srvinit_recycle_last_duration_seconds"] == {(): 2.5}
    assert made(status())["srvinit_recycle_last_duration_seconds"] == {}


# --- what prometheus_client makes of it ----------------------------------------------------------


def scraped(accept: str) -> tuple[str, str]:
    loaded = exposition.load()
    assert loaded is not None
    encode, content_type = loaded.choose(accept)
    collector = Collector(loaded, metrics.samples(FULL, readings(), Accounts()))
    return encode(collector).decode(), content_type


@pytest.mark.parametrize(
    ("accept", "begins", "parse"),
    [
        ("", "text/plain", parser.text_string_to_metric_families),
        ("text/plain;version=0.0.4", "text/plain", parser.text_string_to_metric_families),
        (
            OPENMETRICS,
            "application/openmetrics-text",
            openmetrics_parser.text_string_to_metric_families,
        ),
    ],
    ids=["nothing asked", "text", "openmetrics"],
)
def test_every_family_can_be_read_back_in_the_format_that_was_asked_for(
    accept: str, begins: str, parse: Any
) -> None:
    text, content_type = scraped(accept)

    families = {family.name: family for family in parse(text)}

    assert content_type.startswith(begins)
    text_name = "srvinit" if accept == OPENMETRICS else "srvinit_info"
    told = {text_name if name == "srvinit" else name for name in METRICS}
    assert set(families) == told
    samples = families["srvinit_worker_restarts"].samples
    [sample] = [it for it in samples if it.labels["reason"] == "crash"]
    assert (sample.name, sample.value) == ("srvinit_worker_restarts_total", 4)


def test_a_value_cannot_forge_a_line() -> None:
    loaded = exposition.load()
    assert loaded is not None
    found = status(sockets=[one_socket(71, address='unix:/"\n\\x')])
    collector = Collector(loaded, metrics.samples(found, readings(), Accounts()))

    text = loaded.choose("")[0](collector).decode()

    assert 'srvinit_accept_queue_length{address="unix:/\\"\\n\\\\x"} 3.0\n' in text


IMPORTS = """
import sys
from srvinit.report import exposition
loaded = exposition.load()
heavy = {"ssl", "http.server", "email", "prometheus_client", "inspect"} & set(sys.modules)
assert not heavy, heavy
assert loaded.choose("")[1].startswith("text/plain")
import ssl, http.server, prometheus_client
prometheus_client.Counter("it", "it")
assert ssl.SSLContext and http.server.HTTPServer
"""


def test_what_is_left_out_of_the_import_is_there_for_whoever_imports_it_later() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=60)
