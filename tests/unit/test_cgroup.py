"""How many CPUs a container may use, from recorded cgroup files: see recorded/README.md."""

from __future__ import annotations

import os

import pytest
from machines import RECORDED, machine

from srvinit.kernel import cgroup


@pytest.mark.parametrize(
    ("name", "cpus", "path"),
    [
        ("docker-v2", 2, "/cpu.max"),
        ("docker-v1", 3, "/cpu,cpuacct/cpu.cfs_quota_us"),
        ("kubepods-v2", 3, "/cpu.max"),
        ("kubepods-v1", 1, "/cpu,cpuacct/cpu.cfs_quota_us"),
        ("kubepods-v1-own-namespace", 1, "/cpu,cpuacct/cpu.cfs_quota_us"),
        ("hybrid", 2, "/cpu/rec_a/rec_b/cpu.cfs_quota_us"),
        ("host-v2", 3, "/web.slice/web-shop.slice/cpu.max"),  # not the service's own 4
        ("foreign-path", 1, "/cpu.max"),
    ],
)
def test_the_tightest_quota_counts_rounded_up(name: str, cpus: int, path: str) -> None:
    found = cgroup.tightest_quota(machine(name))
    assert found is not None
    assert (found.cpus, found.path) == (cpus, f"/sys/fs/cgroup{path}")


def test_without_a_limit_there_is_no_quota() -> None:
    assert cgroup.tightest_quota(machine("docker-v2-unlimited")) is None


def test_where_nothing_can_be_read_there_is_no_quota() -> None:
    assert cgroup.tightest_quota({}.get) is None


def test_every_recorded_machine_is_read() -> None:
    """A new recording does nothing until a test names it: this one reads them all."""
    for recorded in RECORDED.glob("*.txt"):
        cgroup.tightest_quota(machine(recorded.stem))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", None),
        ("50000 100000\n", (50000, 100000)),
        ("-1 100000", None),
        ("", None),
        ("50000", None),
        ("x y", None),
    ],
)
def test_cpu_max_is_a_quota_and_a_period(text: str, expected: tuple[int, int] | None) -> None:
    assert cgroup.parse_cpu_max(text) == expected


@pytest.mark.parametrize(
    ("quota_us", "cpus"), [(1000, 1), (100_000, 1), (100_001, 2), (150_000, 2), (200_000, 2)]
)
def test_a_part_of_a_cpu_counts_as_one(quota_us: int, cpus: int) -> None:
    assert cgroup.Quota(quota_us, 100_000, "").cpus == cpus


def test_ancestors_end_where_the_mount_does() -> None:
    mount = cgroup.Mount("/cg", "/docker/7", is_v2=False)
    assert list(cgroup.ancestors(mount, "/docker/7/a/b")) == ["/cg/a/b", "/cg/a", "/cg"]
    assert list(cgroup.ancestors(mount, "/docker/7")) == ["/cg"]
    assert list(cgroup.ancestors(mount, "/docker/77")) == ["/cg"]
    assert list(cgroup.ancestors(mount, "/")) == ["/cg"]


def test_here_the_limit_is_within_the_affinity_mask_and_says_why() -> None:
    cpus, reason = cgroup.cpu_limit()
    assert 1 <= cpus <= len(os.sched_getaffinity(0))
    assert "allows" in reason
