"""Steered sockets, as far as the core is concerned: who sits where, and who is in the rotation.

A seat is a set of sockets that one worker has at a time. It is a number here. A worker's seat is in
the rotation while the worker serves and is not on its way out, so nobody is cut off when it stops.

A seat whose worker ended without having served it to the end goes to the next worker that is
started, with who waits there. A worker that runs already cannot be given another seat: its
descriptors are fixed. So where nobody is to be started, and somebody does wait, one worker is
replaced for their sake (`convergence.serve_waited_seats`).
"""

from __future__ import annotations

from srvinit.lifecycle import swapping
from srvinit.lifecycle.actions import CloseSeat, Log, OpenSeat, Steer, WatchSeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import QueueDrained, QueueStuck, SeatWaits
    from srvinit.lifecycle.pool import Pool
    from srvinit.lifecycle.worker import Worker


class Seats:
    """Which seats there are, beside those that workers have. All are numbers."""

    __slots__ = (
        "given",  # seats ever given: the next one's number
        "given_up",  # waited ones of which a recycle was given up: by when they are let go of
        "is_relief_off",  # a recycle was given up: no worker is replaced for who waits
        "kept",  # left by crashed workers, for those who fill vacant slots
        "left",  # by workers that are gone; nobody will have them again
        "pair",  # of seats that all share; None: each worker has one of its own
        "serving",  # how many serve and are to go on, by seat
        "steered_to",  # what the last Steer said
        "stuck",  # those whose worker takes none of the connections that wait
        "unwatched",  # workers that are QUIESCING since just now: their seats are watched next
        "waited",  # that no worker has, and somebody waits on
    )

    def __init__(self) -> None:
        self.given = 0
        self.pair: swapping.Pair | None = None
        self.serving: dict[int, int] = {}
        self.steered_to: frozenset[int] = frozenset()
        self.stuck: set[int] = set()
        self.unwatched: list[Worker] = []
        self.kept: list[int] = []
        self.waited: list[int] = []
        self.given_up: dict[int, float] = {}
        self.left: list[int] = []
        self.is_relief_off = False

    def count(self, seat: int, change: int) -> None:
        """Count one more, or one fewer, who serves on a seat."""
        self.serving[seat] = self.serving.get(seat, 0) + change
        if not self.serving[seat]:
            del self.serving[seat]

    def deadline(self) -> float | None:
        """Say when a seat is to be let go of though somebody waits there."""
        return min(self.given_up.values(), default=None)


def begin(pool: Pool, *, is_steered: bool) -> None:
    """Take it that the kernel can be steered, or cannot."""
    pool.is_steered = is_steered
    if is_steered and pool.options.bind_mode == "swapped":
        pool.seats.pair = swapping.Pair(_new_seat(pool))


def step(pool: Pool, now: float) -> list[Action] | None:
    """Steer the kernel to those who serve now, and let go of seats that nobody will have again."""
    if not pool.is_steered or pool.end.is_closed:
        return None
    orders: list[Action] = []
    expired = [seat for seat, by in pool.seats.given_up.items() if by <= now]
    for seat in expired:
        del pool.seats.given_up[seat]
    pair = pool.seats.pair
    wanted = _rotation(pool) if pair is None else swapping.rotation(pool, pair)
    room = vacancies(pool) if pair is None else 0  # who fills a vacant slot sits with the others
    surplus = pool.seats.kept[room:]
    del pool.seats.kept[room:]
    if pair is None and not wanted and (pool.seats.steered_to or surplus or pool.seats.left):
        wanted = _waiting_room(pool, orders)
    if wanted != pool.seats.steered_to:
        pool.seats.steered_to = wanted
        orders.append(Steer(wanted))
    if pool.seats.unwatched:
        # After Steer: until then somebody may have come, and an empty queue would prove nothing.
        orders += [WatchSeat(worker.pid, worker.seat) for worker in pool.seats.unwatched]
        pool.seats.unwatched.clear()
    orders += [CloseSeat(seat, None) for seat in surplus]
    orders += [CloseSeat(seat, now) for seat in expired]
    by = now + pool.options.recycle_timeout
    orders += [CloseSeat(seat, by) for seat in pool.seats.left]
    pool.seats.left.clear()
    return orders or None


def _rotation(pool: Pool) -> frozenset[int]:
    """Say who gets newcomers: those who serve, but whoever takes nobody, if there are others."""
    if not pool.options.worker_max_queue:
        pool.seats.stuck.clear()  # nobody looks any more
    serving = pool.seats.serving.keys()
    return frozenset(serving - pool.seats.stuck or serving)


def _waiting_room(pool: Pool, orders: list[Action]) -> frozenset[int]:
    """Say where newcomers wait while nobody serves: where somebody will read, and soonest.

    Not with a worker that is on its way out: they would keep its queue from emptying, and be lost
    with it. If there is no other seat the next worker's is opened now.
    """
    staying = frozenset(worker.seat for worker in pool.everyone() if worker.asked_in is None)
    if staying:
        return staying
    open_ones = pool.seats.kept or pool.seats.waited or pool.seats.given_up
    if not (open_ones or pool.end.has_begun) and vacancies(pool) > 0:
        open_ones = pool.seats.kept = [_new_seat(pool)]
        orders.append(OpenSeat(pool.seats.kept[0]))
    return frozenset(open_ones)


def vacancies(pool: Pool) -> int:
    """Count the workers that are to come where nobody is now: that many seats can be kept."""
    return pool.count - pool.held - pool.complete


def seat_for(pool: Pool) -> int:
    """Give the next worker a seat: one with people in its queue if there is any, or a new one."""
    if pool.seats.pair is not None:
        return swapping.sit_down(pool.seats.pair)
    if (waited := _waited_seat(pool)) is not None:
        return waited
    return pool.seats.kept.pop(0) if pool.seats.kept else _new_seat(pool)


def _waited_seat(pool: Pool) -> int | None:
    """Take a seat that nobody has and somebody waits on, if there is one."""
    seats = pool.seats
    if seats.waited:
        return seats.waited.pop(0)
    for seat in seats.given_up:
        del seats.given_up[seat]
        return seat
    return None


def begin_recycle(pool: Pool) -> None:
    """Where all share a seat: have those who are started now share another."""
    pair = pool.seats.pair
    if pair is not None:
        waited = _waited_seat(pool)
        pair.is_waited_on = waited is not None
        pair.coming = _new_seat(pool) if waited is None else waited


def is_cut_off(pool: Pool, worker: Worker) -> bool:
    """Tell whether the kernel is steered away from a worker that is to stop."""
    pair = pool.seats.pair
    return pool.is_steered and (pair is None or swapping.is_cut_off(pool, pair, worker))


def _new_seat(pool: Pool) -> int:
    pool.seats.given += 1
    return pool.seats.given - 1


def leave_seat(pool: Pool, worker: Worker, *, is_handed_on: bool) -> None:
    """Keep the seat of a worker that is gone for the next one, or let go of it."""
    if not pool.is_steered:
        return  # shared sockets have no seats
    if pool.seats.pair is not None and not swapping.is_given_up(pool.seats.pair, worker.seat):
        return
    pool.seats.stuck.discard(worker.seat)
    (pool.seats.kept if is_handed_on else pool.seats.left).append(worker.seat)


def keep_waited_seat(pool: Pool, event: SeatWaits, now: float) -> list[Action]:
    """Keep a seat that cannot be closed for the next worker; the rules see to it that one comes.

    But not under plain init, where nobody comes: then who waits is told, by a reset, when
    recycle.timeout has passed. And so they are after a recycle that was given up, unless somebody
    is started until then.
    """
    seats = pool.seats
    if pool.options.restart_policy == "never":
        seats.left.append(event.seat)
    elif seats.is_relief_off:
        seats.given_up[event.seat] = now + pool.options.recycle_timeout
    else:
        seats.waited.append(event.seat)
    return []


def give_up_relief(pool: Pool, now: float) -> None:
    """Start nobody for those who wait without a worker: those that were to serve them do not start.

    Whoever is started for another reason until recycle.timeout has passed gets one of their seats.
    """
    by = now + pool.options.recycle_timeout
    pool.seats.given_up |= dict.fromkeys(pool.seats.waited, by)
    pool.seats.waited.clear()
    pool.seats.is_relief_off = pool.is_steered


def take_up_relief(pool: Pool) -> None:
    """See to it again that who waits without a worker gets one: workers do start."""
    pool.seats.is_relief_off = False
    pool.seats.waited += pool.seats.given_up
    pool.seats.given_up.clear()


def let_go_of_all_seats(pool: Pool) -> None:
    """Let go of what was kept: no worker comes any more."""
    seats = pool.seats
    seats.left += [*seats.waited, *seats.given_up, *seats.kept]
    if seats.pair is not None and seats.pair.is_waited_on and seats.pair.coming is not None:
        seats.left.append(seats.pair.coming)
    seats.waited.clear()
    seats.given_up.clear()
    seats.kept.clear()


# --- workers that take nobody -----------------------------------------------------------------


def leave_out(pool: Pool, event: QueueStuck, now: float) -> list[Action]:
    """Let newcomers go to the others, if there are any, and say so once."""
    seats = pool.seats
    worker = _worker_on(pool, event.seat)
    if worker is None or event.seat in seats.stuck or event.seat not in seats.serving:
        return []
    seats.stuck.add(event.seat)
    following = "new ones go to the others until it has taken these"
    if not seats.serving.keys() - seats.stuck:
        following = "new ones go on coming to it, as nobody else serves"
    said = {"waiting": event.waiting, "next": following}
    return [Log("worker.queue_stuck", worker.names() | said)]


def take_back(pool: Pool, event: QueueDrained, now: float) -> list[Action]:
    """Let newcomers come to it again: it has taken all who waited."""
    worker = _worker_on(pool, event.seat)
    if event.seat not in pool.seats.stuck or worker is None:
        return []
    pool.seats.stuck.discard(event.seat)
    return [Log("worker.queue_drained", worker.names())]


def _worker_on(pool: Pool, seat: int) -> Worker | None:
    return next((worker for worker in pool.workers.values() if worker.seat == seat), None)
