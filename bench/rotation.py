"""What one change of the rotation costs srvinit, with the code that srvinit runs."""

from __future__ import annotations

import statistics
import time
from contextlib import closing

from measure import Subject, quantile

from srvinit.kernel.steering import Group, open_group
from srvinit.settings.addresses import bind_address

SEATS = 64
MOST_US = 100
BACKLOG = 128


def measure_rotation(subject: Subject, times: int) -> None:
    """Take seats out of the rotation and put them back; then open and close one more."""
    with closing(open_group(bind_address("127.0.0.1:0"), range(SEATS), backlog=BACKLOG)) as group:
        changes = [one_change_us(group, number % SEATS) for number in range(times)]
        seats = [one_seat_us(group) for _ in range(times // 10)]
    samples = {"a change of the rotation": changes, "a seat opened and closed": seats}
    subject.table(f"us, {SEATS} workers", samples, "a change of the rotation")
    subject.raw["rotation_us"] = {
        name: {f"p{part * 100:g}": round(quantile(us, part), 1) for part in (0.1, 0.5, 0.9, 0.99)}
        for name, us in samples.items()
    }
    median = statistics.median(changes)
    subject.target(f"a change costs {median:.0f} us, at most {MOST_US}", met=median <= MOST_US)


def one_change_us(group: Group, seat: int) -> float:
    """Steer away from one seat that had connections, or back to it."""
    wanted = group.rotation ^ {seat} if group.rotation else set(range(SEATS))
    began = time.perf_counter()
    group.rotate(wanted)
    return (time.perf_counter() - began) * 1e6


def one_seat_us(group: Group) -> float:
    """Do what a recycle does for each worker beside steering."""
    began = time.perf_counter()
    group.open_seat(SEATS)
    group.close_seat(SEATS)
    return (time.perf_counter() - began) * 1e6
