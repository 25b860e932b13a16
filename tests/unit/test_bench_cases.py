"""What bench/steering.py makes of its figures: a ratio, how sure it is, and a verdict or none."""

from __future__ import annotations

import random
import statistics
import sys

import readme

sys.path.insert(0, str(readme.ROOT / "bench"))
from arrivals import Mix, Request, Stretch
from cases import AGAIN, LEAST_ROUNDS, SHARED, STEERED, SWAPPED, Case, Round, decide, interval
from steering import combine


def stretch(ms: float) -> Stretch:
    made = Stretch(100.0, 1.0)
    for _ in range(100):
        made.add(Request(0, 0, "/"), late=10, took=int(ms * 1000), how="ok")
    return made


def case(again: float, steered: float, swapped: float = 1.0, *, rounds: int = LEAST_ROUNDS) -> Case:
    """Return a case in which each round is as slow as its number, and these are the ratios."""
    made = Case("uvicorn", Mix("new"), 0.6, decides=True)
    for number in range(1, rounds + 1):
        given = {SHARED: 1.0, AGAIN: again, STEERED: steered, SWAPPED: swapped}
        modes = {mode: stretch(number * ratio) for mode, ratio in given.items()}
        made.rounds.append(Round(modes, others=0.1))
    return made


def verdict(*cases: Case, mode: str = STEERED) -> str:
    return decide([case.summary() for case in cases], mode)


def test_a_ratio_is_that_of_the_same_round_and_of_the_quick_requests_that_were_answered() -> None:
    made = case(1.0, 1.2)
    made.rounds[0].given[STEERED].add(Request(0, 0, "/slow"), late=0, took=10**9, how="ok")
    made.rounds[0].given[STEERED].add(Request(0, 0, "/"), late=0, took=10**9, how="timeout")

    assert statistics.median(made.ratios(STEERED)) == made.ratio(STEERED) == 1.2
    assert made.lost(STEERED) == {"timeout": 1}


def test_a_mode_may_be_the_default_if_every_event_loop_stays_within_the_bound() -> None:
    assert verdict(case(1.0, 1.29), case(1.2, 0.5)) == "yes"
    assert verdict(case(1.0, 1.29), case(1.0, 1.31)) == "no: uvicorn, new 1.31"


def test_each_mode_is_judged_by_its_own_figures() -> None:
    assert verdict(case(1.0, 1.4, 1.2), mode=SWAPPED) == "yes"
    assert verdict(case(1.0, 1.2, 1.4), mode=SWAPPED) == "no: uvicorn, new 1.40"


def test_a_case_that_decides_nothing_is_not_asked() -> None:
    slow = case(1.0, 9.0)
    slow.decides = False

    assert verdict(slow, case(1.0, 1.0)) == "yes"


def test_where_shared_differs_from_itself_nothing_is_decided() -> None:
    assert verdict(case(1.31, 1.0), case(1.0, 1.0)).startswith("unfit: ")
    assert verdict(case(0.76, 9.0)).startswith("unfit: ")


def test_few_rounds_decide_nothing() -> None:
    assert verdict(case(1.0, 1.0, rounds=LEAST_ROUNDS - 1)).startswith("unfit: ")


def test_nothing_that_decides_is_no_verdict() -> None:
    assert verdict().startswith("unfit: ")


def test_pieces_are_one_run_and_the_later_of_two_rows_stays() -> None:
    def found(steered: float, *servers: str) -> dict[str, list[object]]:
        losses = [{"server": server, "lost": steered} for server in servers]
        return {"cases": [case(1.0, steered).summary()], "losses": losses, "memory": []}

    whole = combine(found(1.4, "node", "uvicorn"), found(1.2, "uvicorn"))

    assert [one["modes"][STEERED]["ratio"] for one in whole["cases"]] == [1.2]
    assert [(row["server"], row["lost"]) for row in whole["losses"]] == [
        ("node", 1.4),
        ("uvicorn", 1.2),
    ]
    assert whole["verdicts"] == {STEERED: "yes", SWAPPED: "yes"}


def test_the_quieter_half_is_that_in_which_others_ran_least() -> None:
    made = case(1.0, 3.0, rounds=4)
    made.rounds += [Round(it.given, 0.9) for it in case(1.0, 5.0, rounds=4).rounds]

    assert made.quieter_half(STEERED) == 3.0
    assert made.ratio(STEERED) == 4.0


def test_the_interval_has_the_true_median_19_times_in_20() -> None:
    """10,000 draws of 25: by signs it is 95.7 % for any distribution."""
    dice = random.Random(1)  # noqa: S311
    hits = 0
    for _ in range(10_000):
        low, high = interval([dice.expovariate(1) for _ in range(25)])
        hits += low <= 0.6931 <= high

    assert 9_400 <= hits <= 9_750
