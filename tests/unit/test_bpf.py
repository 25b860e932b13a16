"""The programs that steer connections, run by a small interpreter of classic BPF."""

from __future__ import annotations

import ctypes
import random
import struct
import sys
from collections import Counter
from itertools import combinations

import pytest

from srvinit.kernel import bpf

RANDOM_AT = 0xFFFFF000 + 56
NETWORK_AT = 0xFFF00000


def run(  # noqa: C901, PLR0912  an interpreter is one decision
    program: bytes, packet: bytes = b"", *, number: int = 0, transport: bytes = b""
) -> int:
    """Interpret a program as bpf(4) says. `packet` begins with its network header."""
    steps = list(struct.iter_unpack("=HBBI", program))
    assert len(steps) <= 4096
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        if code in {0x20, 0x28, 0x30}:
            size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
            if k == RANDOM_AT:
                accumulator = number
                continue
            source, start = (packet, k - NETWORK_AT) if k >= NETWORK_AT else (transport, k)
            if start + size > len(source):
                return 0
            accumulator = int.from_bytes(source[start : start + size], "big")
        elif code == 0x04:
            accumulator = (accumulator + k) & 0xFFFFFFFF
        elif code == 0x54:
            accumulator &= k
        elif code == 0x74:
            accumulator >>= k
        elif code == 0x94:
            accumulator %= k
        elif code == 0x15:
            at += if_true if accumulator == k else if_false
        elif code == 0x35:
            at += if_true if accumulator >= k else if_false
        elif code == 0x06:
            return int(k)
        elif code == 0x16:
            return accumulator
        else:
            raise AssertionError(f"instruction {code:#x}")


SETS_OF_EIGHT = [places for size in range(1, 9) for places in combinations(range(8), size)]


def test_every_set_of_up_to_eight_is_chosen_from_evenly_and_nobody_else_ever() -> None:
    """All 255 sets, and every random number as far as it matters: its remainder."""
    assert len(SETS_OF_EIGHT) == 255
    for places in SETS_OF_EIGHT:
        program = bpf.choose_among(places)
        numbers = range(len(places) * 3)
        chosen = Counter(run(program, number=number) for number in numbers)
        assert chosen == dict.fromkeys(places, 3), places


def test_the_largest_random_numbers_are_remainders_too() -> None:
    program = bpf.choose_among((0, 2, 5))
    assert [run(program, number=2**32 - 1 - less) for less in range(3)] == [0, 5, 2]


@pytest.mark.parametrize("size", [1, 2, 127, 128, 129, 255, 256, 257, 1000, 1500])
def test_hundreds_of_sockets_are_told_apart_with_any_of_them_left_out(size: int) -> None:
    dice = random.Random(size)  # noqa: S311  nothing secret
    some = sorted(dice.sample(range(size), size // 2 + 1))
    for places in (list(range(size)), list(range(0, size, 2)), some):
        program = bpf.choose_among(places)
        ranks = range(0, len(places), 1 + len(places) // 100)
        assert [run(program, number=rank) for rank in ranks] == [places[rank] for rank in ranks]


def test_a_thousand_sockets_with_every_other_one_left_out_fit_old_kernels() -> None:
    """Linux before 6.8 takes 20,480 bytes; translating adds some 20 instructions at most."""
    program = bpf.choose_among(range(0, 1000, 2))
    assert len(program) // 8 < 20_480 // 8 - 40


def test_without_a_gap_the_program_has_three_instructions() -> None:
    assert len(bpf.choose_among(range(64))) == 3 * 8


def test_order_and_repetition_do_not_matter() -> None:
    assert bpf.choose_among([3, 1, 3]) == bpf.choose_among([1, 3])


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ValueError, match="a place"):
        bpf.choose_among([])


def v4(source: str, port: int) -> bytes:
    header = bytes([0x45]) + bytes(11) + bytes(map(int, source.split("."))) + bytes(4)
    return header + port.to_bytes(2, "big") + bytes(18)


def v6(source: bytes, port: int) -> bytes:
    return bytes([0x60]) + bytes(7) + source + bytes(16) + port.to_bytes(2, "big") + bytes(18)


def test_one_connection_is_told_from_all_others() -> None:
    program = bpf.place_for(bytes([127, 0, 0, 1]), 40_000, 6) + bpf.choose_among([2])
    assert run(program, v4("127.0.0.1", 40_000)) == 6
    assert run(program, v4("127.0.0.1", 40_001)) == 2
    assert run(program, v4("10.0.0.1", 40_000)) == 2
    assert run(program, v6(bytes(15) + b"\1", 40_000)) == 2


def test_one_connection_over_ipv6_is_told_from_all_others() -> None:
    local = bytes(15) + b"\1"
    program = bpf.place_for(local, 40_000, 6) + bpf.choose_among([2])
    assert run(program, v6(local, 40_000)) == 6
    assert run(program, v6(local, 40_001)) == 2
    assert run(program, v6(bytes(15) + b"\2", 40_000)) == 2
    # Too short for the offsets of IPv6: had they been looked at, the answer were 0.
    assert run(program, v4("127.0.0.1", 40_000)[:40]) == 2


def test_an_instruction_is_laid_out_as_the_kernel_lays_it_out() -> None:
    assert bpf.instruction(0x35, 7, 1, 2) == struct.pack("@HBBI", 0x35, 1, 2, 7)


def test_the_kernel_is_told_where_the_instructions_are() -> None:
    program = bpf.choose_among([1, 4])
    count, address = struct.unpack("@HP", bpf.fprog(program))
    assert count * 8 == len(program)
    assert ctypes.string_at(address, len(program)) == program


def test_nothing_is_imported_that_delays_the_first_worker() -> None:
    assert not {"array", "struct", "ctypes"} & set(vars(sys.modules["srvinit.kernel.bpf"]))
