"""What /proc tells of memory and CPU, on text as Linux 6.18 writes it."""

from __future__ import annotations

import pytest

from srvinit.kernel import usage
from srvinit.kernel.usage import Process

STAT = (
    b"41 (a) b (c)) S 7 41 7 0 -1 4194560 512 0 0 0 130 25 1000 200 20 0 1 0 987654 10985472 300"
    b" 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
NETSTAT = b"""\
TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 0 23 2431
IpExt: InNoRoutes InTruncatedPkts
IpExt: 1 2
"""
ROLLUP = b"""\
561d32a41000-7ffec2ab7000 ---p 00000000 00:00 0                          [rollup]
Rss:                1628 kB
Pss:                 194 kB
Pss_Dirty:           112 kB
"""


def process(pid: int, parent: int, pgid: int, ticks: int = 0) -> Process:
    return Process(pid, parent, pgid, ticks, 0, 0, 0, pid * 10, 1000)


def family_pids(leaders: list[int], *living: Process) -> dict[int, list[int]]:
    found = usage.families(leaders, {it.pid: it for it in living})
    return {leader: sorted(it.pid for it in family) for leader, family in found.items()}


def test_a_process_is_read_whatever_its_name_is() -> None:
    found = usage.parse_stat(STAT)

    assert (found.pid, found.parent_pid, found.pgid) == (41, 7, 41)
    assert (found.user_ticks, found.system_ticks) == (1130, 225), "with those it waited for"
    assert (found.waited_user_ticks, found.waited_system_ticks) == (1000, 200)
    assert found.started_ticks == 987654
    assert found.rss_bytes == 300 * usage.PAGE_BYTES


def test_own_use_leaves_out_whom_it_waited_for() -> None:
    found = usage.own_usage(usage.parse_stat(STAT))

    assert found.user_s == 130 / usage.TICKS_A_SECOND
    assert found.system_s == 25 / usage.TICKS_A_SECOND


def test_counters_are_found_by_name_wherever_they_stand() -> None:
    found = usage.parse_netstat(NETSTAT, ("ListenDrops", "ListenOverflows", "InTruncatedPkts"))

    assert found == {"ListenDrops": 2431, "ListenOverflows": 23, "InTruncatedPkts": 2}


@pytest.mark.parametrize("text", [b"", b"TcpExt: A B\n", b"TcpExt: A\nTcpExt: 1\n"])
def test_a_kernel_that_does_not_count_them_tells_of_none(text: bytes) -> None:
    assert usage.parse_netstat(text, ("ListenDrops",)) == {}


def test_the_proportional_share_is_read_in_bytes() -> None:
    assert usage.parse_pss(ROLLUP) == 194 * 1024
    assert usage.parse_pss(b"Rss: 4 kB\n") is None


def test_a_family_is_the_leader_its_descendants_and_the_rest_of_its_group() -> None:
    living = (
        process(1, 0, 1),
        process(10, 1, 10),  # a leader
        process(11, 10, 10),
        process(12, 11, 12),  # moved to a group of its own
        process(13, 1, 10),  # its parent is gone
        process(20, 1, 20),  # another leader
        process(30, 1, 30),  # nobody's
    )

    assert family_pids([10, 20], *living) == {10: [10, 11, 12, 13], 20: [20]}


def test_a_leader_that_has_ended_has_no_family() -> None:
    assert family_pids([10, 20], process(1, 0, 1), process(20, 1, 20)) == {20: [20]}


def test_parents_that_were_read_at_different_moments_make_no_endless_way() -> None:
    living = (process(10, 1, 10), process(11, 12, 11), process(12, 11, 12))

    assert family_pids([10], *living) == {10: [10]}


def test_what_a_family_uses_is_added_up() -> None:
    found = usage.usage_of(10, [process(11, 10, 10, ticks=50), process(10, 1, 10, ticks=150)], 77)

    assert found == usage.Usage(2, 2000, 77, 200 / usage.TICKS_A_SECOND, 0.0, 100)
