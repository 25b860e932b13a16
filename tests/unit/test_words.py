"""Words for wait statuses, signals and durations: what people read in the log."""

from __future__ import annotations

import signal

import pytest

from srvinit import words


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (0, "exit 0"),
        (3 << 8, "exit 3"),
        (255 << 8, "exit 255"),
        (signal.SIGKILL, "SIGKILL"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGSEGV | 0x80, "SIGSEGV (core dumped)"),
        (signal.SIGABRT, "SIGABRT"),
        (signal.SIGRTMIN + 3, "SIGRTMIN+3"),
    ],
)
def test_a_wait_status_says_how_the_process_ended(status: int, reason: str) -> None:
    assert words.wait_status_reason(status) == reason


@pytest.mark.parametrize("status", [0x137F, 0xFFFF, -1, 0x10000])
def test_what_is_no_end_of_a_process_is_refused(status: int) -> None:
    """Stopped, continued and what no kernel returns: a ValueError, never a made-up exit."""
    with pytest.raises(ValueError, match="is not the end of a process"):
        words.wait_status_reason(status)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGCHLD, "SIGCHLD"),
        (signal.SIGIO, "SIGIO"),
        (signal.SIGRTMIN, "SIGRTMIN"),
        (signal.SIGRTMAX, f"SIGRTMIN+{signal.SIGRTMAX - signal.SIGRTMIN}"),
        (32, "signal 32"),
        (0, "signal 0"),
    ],
)
def test_a_signal_has_the_name_that_people_use(number: int, name: str) -> None:
    assert words.signal_name(number) == name


def test_every_signal_of_this_system_has_a_name() -> None:
    for number in signal.valid_signals():
        assert words.signal_name(number).startswith("SIG")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.0001, "under 1 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.5, "1.5 s"),
        (15.0, "15 s"),
        (14.96, "15 s"),
        (119.9, "119.9 s"),
        (119.96, "2 min"),
        (150, "2 min 30 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_duration_is_rounded_to_what_a_person_can_use(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize("seconds", [-0.001, float("inf"), float("nan")])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        words.duration(seconds)


def test_a_noun_follows_its_number() -> None:
    assert [words.counted(n, "worker") for n in (0, 1, 4)] == ["0 workers", "1 worker", "4 workers"]


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (900 << 10, "900 KiB"), (512 << 20, "512 MiB"),
     (1_500_000_000, "1.4 GiB"), (3 << 40, "3072 GiB")],
)  # fmt: skip
def test_a_size_is_said_in_the_largest_unit_it_fills(count: int, said: str) -> None:
    assert words.size(count) == said
