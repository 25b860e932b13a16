"""How large processes are, from recorded /proc files and from here."""

from __future__ import annotations

import os
from pathlib import Path

from srvinit.kernel import footprint

RECORDED = Path(__file__).parent / "recorded" / "proc"


def test_group_and_pages_are_found_behind_any_name() -> None:
    odd = (RECORDED / "odd_name.stat").read_bytes()
    fields = odd.rpartition(b")")[2].split()
    assert footprint.parse_size(odd) == (int(fields[2]), int(fields[21]))
    assert footprint.parse_size((RECORDED / "accept.stat").read_bytes())[1] > 0


def test_our_own_group_is_as_large_as_we_are_at_least() -> None:
    statm = Path("/proc/self/statm").read_text().split()
    size = int(statm[1]) * os.sysconf("SC_PAGE_SIZE")
    assert footprint.group_sizes()[os.getpgrp()] > size / 2
