"""Settings that are allowed and will hurt: each is told of, and what instead; good ones are not."""

from __future__ import annotations

from typing import Any

import pytest

from srvinit.options import Options
from srvinit.report.hazards import RULES, Machine, hazards

HERE = {"count": 4, "cpus": 4, "cpus_why": "the affinity mask allows 4"}
GOOD: dict[str, Any] = {
    "bind": ":8080",
    "worker_require": "listen",
    "worker_timeout": "30s",
    "shutdown_grace_period": "30s",
    "shutdown_delay": "5s",
}
POD = {"is_kubernetes": True, "memory_bytes": 1 << 30, "memory_why": "memory.max"}

# (settings beside the good ones, None to leave one out; the machine; how the warning begins; what
# of its remedy must be said)
CASES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"worker_require": None}, POD, "worker.require=online", "worker.require=listen"),
    ({"worker_timeout": None}, POD, "worker.timeout=2s", "30s"),
    ({"shutdown_grace_period": None}, {}, "shutdown.grace_period is not set", "docker stop"),
    ({"shutdown_grace_period": None}, POD, "shutdown.grace_period is not set", "set it"),
    (
        {"shutdown_grace_period": None, "shutdown_timeout": "1m"},
        POD,
        "shutdown.grace_period is not set, and a shutdown takes up to 66s",
        "Kubernetes kills after 30s (terminationGracePeriodSeconds)",
    ),
    ({}, {}, "docker stop kills after 10s", "docker stop -t 30"),
    (
        {"shutdown_timeout": "10s", "recycle_timeout": "9s"},
        POD,
        "14s of shutdown.grace_period=30s",
        "shutdown.timeout out",
    ),
    ({"recycle_timeout": "1m"}, POD, "recycle.timeout=60s is more than the 24s", "grace period"),
    ({"shutdown_delay": None}, POD, "shutdown.delay=0s", "shutdown.delay=5s"),
    ({"shutdown_margin": 0}, POD, "shutdown.margin=0s leaves no time", "set 1s"),
    (
        {"bind_mode": "steered", "worker_quiesce": "15s"},
        POD,
        "worker.quiesce=15s is all the time",
        "(15s)",
    ),
    (
        {"bind_mode": "swapped"},
        POD | {"memory_bytes": 128 << 20},
        "128 MiB (memory.max) are 16 MiB for each of the 8 workers of a recycle",
        "set bind.mode=steered",
    ),
    ({"bind": "unix:/run/x", "bind_mode": "swapped"}, POD, "bind.mode=swapped without", "bind"),
    ({"bind": "fd:5", "bind_mode": "steered"}, POD, "bind.mode=steered without", "leave it out"),
    (
        {"worker_max_queue": 5, "bind_mode": "swapped"},
        POD,
        "worker.max_queue=5 with bind.mode=swapped",
        "bind.mode=steered",
    ),
    ({"worker_max_queue": 5}, POD, "worker.max_queue=5 with bind.mode=shared", "steered"),
    (
        {"recycle_max_surge": 0, "recycle_max_unavailable": 1},
        POD | {"count": 1},
        "recycle.max_surge=0 with a single worker",
        "recycle.max_surge=1",
    ),
    (
        {"worker_count": 9},
        POD | {"count": 9, "cpus": 2},
        "worker.count=9: 9 workers for 2 CPUs",
        "worker.count=auto",
    ),
    (
        {},
        POD | {"memory_bytes": 100 << 20},
        "100 MiB (memory.max) are 20 MiB for each of the 5 workers",
        "lower worker.count",
    ),
    ({}, POD | {"oom_group": "/a/memory.oom.group"}, "/a/memory.oom.group is 1", "singleProcess"),
    ({"restart_limit": 4}, POD, "restart.limit=4: when 4 workers fail", "above worker.count"),
    ({"restart_limit": 0}, POD, "restart.limit=0", "set a limit"),
    (
        {"worker_require": "notify", "worker_watchdog": "100ms"},
        POD,
        "worker.watchdog=100ms",
        "some seconds",
    ),
    ({}, POD | {"has_command": False, "command": "x"}, "x: no such command", "127"),
]


def made(given: dict[str, Any], machine: dict[str, Any]) -> list[str]:
    named = {name: value for name, value in (GOOD | given).items() if value is not None}
    return hazards(Options(**named), Machine(**(HERE | machine)))


@pytest.mark.parametrize(("given", "machine", "begin", "remedy"), CASES)
def test_what_hurts_is_said_alone_with_its_remedy(
    given: dict[str, Any], machine: dict[str, Any], begin: str, remedy: str
) -> None:
    (said,) = made(given, machine)
    assert said.startswith(begin)
    assert remedy in said
    assert "\n" not in said


def test_every_rule_has_a_case() -> None:
    named = [{name: value for name, value in (GOOD | case[0]).items() if value is not None}
             for case in CASES]  # fmt: skip
    for rule in RULES:
        cases = zip(named, CASES, strict=True)
        assert any(rule(Options(**one), Machine(**(HERE | case[1]))) for one, case in cases), rule


@pytest.mark.parametrize(
    ("given", "machine"),
    [
        ({}, POD),
        ({"recycle_timeout": "24s"}, POD),
        ({"worker_count": 16, "restart_limit": 17}, POD | {"count": 16}),
        ({"restart_limit": 5}, POD),
        ({"restart_limit": 0, "restart_policy": "never"}, POD),
        ({"shutdown_grace_period": "10s", "shutdown_delay": "1s", "recycle_timeout": "8s"}, {}),
    ],
)
def test_what_is_good_is_not_spoken_of(given: dict[str, Any], machine: dict[str, Any]) -> None:
    assert made(given, machine) == []
