"""Probes while the endpoint is flooded: each gets its answer in time, and PID 1 sleeps on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from flooding import Flood
from probing import HTTP, address_of, ask_at
from scenes import start_web, stop, switches, wait_until_quiet

if TYPE_CHECKING:
    from scenes import Start

FLOOD = 3_000
PROBES = 30


def test_a_probe_is_answered_in_its_second_while_others_flood_and_srvinit_does_not_notice(
    srvinit: Start,
) -> None:
    """Thousands of connections a second from one address, a prober at another, as a kubelet is.

    Each probe has a connection of its own, and a second (timeoutSeconds by default). On a machine
    that is too busy to run a process for that long one may fail; two in a row are the endpoint's.
    PID 1 is not woken once.
    """
    pool = start_web(srvinit, "-w1", HTTP, "--restart-reset=50ms")
    address = address_of(pool)
    wait_until_quiet(pool, 20)
    with Flood(address, source="127.0.0.2") as flood:
        flood.wait_connections(FLOOD)
        before = switches(pool.pid)
        outcomes = [probe(address) for _ in range(PROBES)]
        flood.wait_connections(FLOOD)
        woken = switches(pool.pid) - before

    assert outcomes.count("200") >= PROBES - 2, outcomes
    assert all("200" in pair for pair in pairwise(outcomes)), outcomes
    assert woken == 0
    assert pool.found("endpoint.died") == []
    assert stop(pool) == 0


def probe(address: str) -> str:
    """Ask as a kubelet does, on a new connection, with a second for all of it."""
    try:
        return str(ask_at(address, "/livez", within=1)[0])
    except OSError as error:
        return repr(error)
