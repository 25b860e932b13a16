"""What happened: the only things the core is ever told.

Past facts, nouns without behaviour. `supervisor` makes them out of what the kernel says; the pool
makes those of the last group itself, out of time and of other events.
"""

from __future__ import annotations

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.options import Options


class Event(Record):
    """Base of all events."""


# --- answers to orders ---------------------------------------------------------------------------


class Spawned(Event):
    """Answer to `Spawn`: the process exists. What it came to is told later."""

    number: int
    pid: int


class SpawnFailed(Event):
    """Answer to `Spawn`: there is no process; `error` is the errno's name and its words."""

    number: int
    error: str


class ConfigRead(Event):
    """Answer to `ReadConfig`: the settings from now on.

    `count` is worker.count worked out anew; `count_why` says what of, where it is `auto`.
    """

    options: Options
    count: int
    count_why: str = ""


class ConfigRejected(Event):
    """Answer to `ReadConfig`: the file is faulty, one line a fault; the old settings stay."""

    faults: list[str]


class QueueEmptied(Event):
    """Answer to `WatchQueue`: no connection waits to be accepted on any shared socket."""


class OrphansGone(Event):
    """Answer to `Sweep`: srvinit has no child left."""


# --- facts about one worker ----------------------------------------------------------------------


class BecameReady(Event):
    """The worker fulfils worker.require. Programs may say so twice."""

    pid: int


class Exited(Event):
    """The worker has ended and is not reaped yet: its pid, and its group's, are still its own.

    `status` is the raw wait status (waitpid(2)). Where exec failed, `exec_status` is the 126 or 127
    a shell would exit with and `detail` says why in words. Where the kernel killed it for lack of
    memory, `is_oom` holds and `detail` says what was lacking.
    """

    pid: int
    status: int
    exec_status: int = 0
    detail: str = ""
    is_oom: bool = False


class SeatEmptied(Event):
    """Answer to `WatchSeat`: nobody waits on the worker's sockets, or is on the way there.

    After three seconds, whoever has not finished a handshake by then is not on the way any more.
    """

    pid: int


class SeatWaits(Event):
    """Answer to `CloseSeat`: somebody waits there, so the seat is not closed."""

    seat: int


class QueueStuck(Event):
    """The worker on a seat takes none of the `waiting` connections, while another has taken all.

    It is told again as long as that is so.
    """

    seat: int
    waiting: int


class QueueDrained(Event):
    """Nobody waits any more on a seat that was told to be stuck."""

    seat: int


class Pinged(Event):
    """The worker sent WATCHDOG=1."""

    pid: int


class TooLarge(Event):
    """The worker's processes have more memory than worker.max_memory, and not for a moment.

    `size` is what they have in bytes, `limit` what they may have. It is told again and again.
    """

    pid: int
    size: int
    limit: int


class Announced(Event):
    """The worker said something for people through its notify socket (STATUS=, STOPPING=1)."""

    pid: int
    text: str


# --- facts about srvinit -------------------------------------------------------------------------


class Begin(Event):
    """The sockets are bound and signals are taken in: the workers may start.

    `inherits_sockets`: srvinit's own parent handed some over, which no setting names.
    `is_steered`: each worker has sockets of its own, and the kernel can be steered away from them.
    """

    inherits_sockets: bool = False
    is_steered: bool = False


class PathsChanged(Event):
    """What recycle.watch names has changed, and is quiet again."""

    paths: list[str]


class Tick(Event):
    """The deadline that `next_deadline` named has come."""


class SignalArrived(Event):
    """A signal to srvinit. `name` is without SIG; `sender_pid` is 0 from outside the namespace.

    `by_terminal`: the kernel sent it for a key that somebody pressed. `hangup`: it is a HUP and
    the controlling terminal is gone. `worker_has_terminal`: the single worker is in the terminal's
    foreground, so that job control and the window's size are its business.
    """

    name: str
    sender_pid: int = 0
    by_terminal: bool = False
    hangup: bool = False
    worker_has_terminal: bool = False


# --- made by the pool, for its workers -----------------------------------------------------------


class Overdue(Event):
    """The deadline of the state that the worker is in has passed."""


class Hung(Event):
    """The worker sent no WATCHDOG=1 for worker.watchdog."""


class Retire(Event):
    """The worker shall stop gracefully, and has until `by`. `why` is for the log."""

    by: float
    why: str


class Quiesce(Event):
    """Steered mode: the worker shall get no new connections, then stop; it has until `by`."""

    by: float
    why: str


class KillNow(Event):
    """Somebody is out of patience: no deadline any more. `why` is for the log."""

    why: str
