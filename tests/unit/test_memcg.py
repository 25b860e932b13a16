"""The memory cgroup's limit and count of kills, from recorded files: see recorded/README.md."""

from __future__ import annotations

import pytest
from machines import RECORDED, files_of, machine

from srvinit.kernel import memcg

MIB = 1 << 20


@pytest.mark.parametrize(
    ("name", "size", "path"),
    [
        ("docker-v1", 256 * MIB, "/memory/memory.limit_in_bytes"),
        ("docker-v2", 512 * MIB, "/memory.max"),
        ("kubepods-v2", 1024 * MIB, "/memory.max"),
        ("host-v2", 2048 * MIB, "/web.slice/memory.max"),  # not the service's own 3 GiB
        ("hybrid", 64 * MIB, "/memory/scope/memory.limit_in_bytes"),
    ],
)
def test_the_tightest_limit_counts(name: str, size: int, path: str) -> None:
    assert memcg.tightest_limit(machine(name)) == memcg.Limit(size, f"/sys/fs/cgroup{path}")


@pytest.mark.parametrize("name", ["docker-v2-unlimited", "kubepods-v1", "foreign-path"])
def test_max_and_the_largest_number_are_no_limit(name: str) -> None:
    assert memcg.tightest_limit(machine(name)) is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("docker-v1", "/memory/memory.oom_control"),
        ("docker-v2", "/memory.events"),
        ("kubepods-v1", "/memory/memory.oom_control"),
        ("kubepods-v1-own-namespace", "/memory/memory.oom_control"),
        ("foreign-path", "/memory.events"),
        ("host-v2", "/web.slice/web-shop.slice/shop.service/memory.events"),  # its own alone
        ("hybrid", "/memory/scope/memory.oom_control"),
    ],
)
def test_a_kill_is_seen_once_in_our_own_cgroup(name: str, path: str) -> None:
    files = files_of(name)
    counter = memcg.OomCounter(files.get)
    assert not counter.has_risen(), "what was before srvinit is nobody's end"
    before = memcg.parse_kills(files[f"/sys/fs/cgroup{path}"])
    files[f"/sys/fs/cgroup{path}"] = files[f"/sys/fs/cgroup{path}"].replace(
        f"oom_kill {before}", f"oom_kill {before + 1}"
    )
    assert counter.has_risen()
    assert not counter.has_risen()


@pytest.mark.parametrize("name", ["docker-v1-kernel-4.12", "none"])
def test_where_nobody_counts_no_kill_is_the_kernels(name: str) -> None:
    files = {} if name == "none" else files_of(name)
    counter = memcg.OomCounter(files.get)
    assert not counter.has_risen()


def test_a_counter_that_cannot_be_read_any_more_has_not_risen() -> None:
    files = files_of("docker-v2")
    counter = memcg.OomCounter(files.get)
    files.clear()
    assert not counter.has_risen()


def test_memory_oom_group_is_found_where_it_is_set() -> None:
    found = {path.stem: memcg.shared_fate(machine(path.stem)) for path in RECORDED.glob("*.txt")}
    assert {name: path for name, path in found.items() if path} == {
        "kubepods-v2": "/sys/fs/cgroup/memory.oom.group",
        "host-v2": "/sys/fs/cgroup/web.slice/web-shop.slice/shop.service/memory.oom.group",
    }


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("low 0\noom 4\noom_kill 3\noom_group_kill 1\n", 3),
        ("oom_kill_disable 1\nunder_oom 0\noom_kill 12\n", 12),
        ("oom_kill_disable 1\nunder_oom 0\n", None),
        ("oom_kill many", None),
        ("", None),
    ],
)
def test_kills_are_told_from_what_is_named_alike(text: str, kills: int | None) -> None:
    assert memcg.parse_kills(text) == kills
