"""One second is the same width everywhere, but for quiet stretches that stand out."""

from __future__ import annotations

import itertools

import pytest

from srvinit.report.timeline.scale import (
    BREAK_EDGE,
    BREAK_WIDTH,
    MOST_BREAKS,
    Scale,
    clock,
    quiet_stretches,
    stretches_to_squeeze,
)

HOUR = 3600.0


def test_quiet_is_what_no_busy_stretch_covers() -> None:
    assert quiet_stretches([(5, 7), (2, 3), (6, 9)], 0, 10) == [(0, 2), (3, 5), (9, 10)]
    assert quiet_stretches([], 0, 1) == [(0, 1)]
    assert quiet_stretches([(-5, 20)], 0, 10) == []


def test_a_day_with_a_busy_minute_is_squeezed_to_that_minute() -> None:
    quiet = [(10.0, 8 * HOUR), (8 * HOUR + 30, 24 * HOUR)]
    scale = Scale(0, 24 * HOUR, quiet, 0, 1000)

    assert len(scale.breaks) == 2
    assert scale.x(10) > 150
    assert scale.x(8 * HOUR + 30) - scale.x(8 * HOUR) > 400
    assert [round(one.until - one.since) for one in scale.breaks] == [
        pytest.approx(8 * HOUR - 10, abs=10),
        pytest.approx(16 * HOUR - 30, abs=10),
    ]


@pytest.mark.parametrize(
    "quiet",
    [
        [(float(n * 60), n * 60 + 59.0) for n in range(1000)],  # a worker a minute
        [(float(n), n + 0.9) for n in range(20)],  # all of it short
        [(n * 100.0, n * 100.0 + 50 + n) for n in range(40)],
        [],
    ],
)
def test_stretches_that_are_like_each_other_are_kept(quiet: list[tuple[float, float]]) -> None:
    assert stretches_to_squeeze(quiet, 60000.0) == []


def test_there_are_never_more_breaks_than_can_be_seen() -> None:
    quiet = [(n * HOUR, (n + 1) * HOUR - 5) for n in range(MOST_BREAKS)]
    assert len(stretches_to_squeeze(quiet, MOST_BREAKS * HOUR)) == MOST_BREAKS
    quiet.append((MOST_BREAKS * HOUR, (MOST_BREAKS + 1) * HOUR - 5))
    assert stretches_to_squeeze(quiet, (MOST_BREAKS + 1) * HOUR) == []


@pytest.mark.parametrize(
    "quiet", [[], [(10.0, 9000.0)], [(0.0, 9000.0)], [(500.0, 10000.0)], [(0.0, 10000.0)]]
)
def test_places_follow_the_instants_and_stay_on_the_paper(quiet: list[tuple[float, float]]) -> None:
    scale = Scale(0, 10000, quiet, 70, 1000)
    places = [scale.x(at) for at in range(-10, 10010, 7)]
    assert places == sorted(places)
    assert scale.x(-5) == scale.x(0) == 70
    assert scale.x(10000) == scale.x(1e12) == pytest.approx(1070)


def test_a_log_of_one_instant_has_an_axis() -> None:
    scale = Scale(1e9, 1e9, [], 70, 1000)
    assert 70 <= scale.x(1e9) <= 1070
    assert len(scale.ticks()) < 20


@pytest.mark.parametrize("lasts", [0.001, 0.05, 1, 7, 33, 600, HOUR * 30, 1e7, 3e10])
def test_ticks_have_room_and_round_times(lasts: float) -> None:
    scale = Scale(1e9, 1e9 + lasts, [], 70, 1000)
    ticks = scale.ticks()
    assert len(ticks) >= 2 or lasts < 0.01 or lasts > 1e9
    places = [x for x, _ in ticks]
    assert all(other - one >= 80 for one, other in itertools.pairwise(places))
    assert len({said for _, said in ticks}) == len(ticks)


def test_a_break_takes_its_place_only() -> None:
    scale = Scale(0, 1000, [(10.0, 990.0)], 0, 500)
    (one,) = scale.breaks
    assert scale.x(one.until) - scale.x(one.since) == pytest.approx(BREAK_WIDTH)
    assert scale.is_squeezed(500)
    assert not scale.is_squeezed(5)
    room, begin = scale.longest_piece(0, 900)
    assert (room, begin) == (pytest.approx(one.x + BREAK_EDGE), 0)


def test_clock() -> None:
    assert clock(0) == "00:00:00"
    assert clock(12.345, 0.001) == "00:00:12.345"
    assert clock(12.3, 0.1) == "00:00:12.3"
    assert clock(0, 10800) == "01-01 00:00"
    assert clock(0, 86400) == "1970-01-01"
