"""What to do: orders of the core to the supervisor, carried out in the order of the list.

Nouns without behaviour. An order whose outcome matters is answered by an event, which the
supervisor hands back before it hands over anything else (the docstring names it).
"""

from __future__ import annotations

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Action(Record):
    """Base of all actions."""


class Spawn(Action):
    """Start a worker. Answer: `Spawned` or `SpawnFailed`, with the same number.

    `seat` names its sockets in steered mode: those that a crashed worker left, with who waits
    there, or a number never used before. Shared sockets have no seats.
    """

    number: int
    slot: int
    generation: int
    seat: int


class Signal(Action):
    """Send a signal to a worker that is not reaped yet: to its leader, or to its whole group."""

    pid: int
    name: str
    to_group: bool = False


class KillGroup(Action):
    """Send SIGKILL to a worker's process group; its leader is not reaped yet."""

    pid: int


class Reap(Action):
    """Take a worker's exit status off the kernel: from here on the pid may be anybody's."""

    pid: int


class Log(Action):
    """Write a line: an event of the catalogue with its fields.

    `level` is given where it depends on the case; else it is the catalogue's.
    """

    event: str
    fields: dict[str, Any]
    level: str = ""


class ReadConfig(Action):
    """Read the settings again. Answer: `ConfigRead` or `ConfigRejected`."""


class WatchQueue(Action):
    """Watch the shared sockets until no connection waits. Answer, once: `QueueEmptied`."""


class OpenSeat(Action):
    """Open a seat that the next worker gets: newcomers wait there for it."""

    seat: int


class Steer(Action):
    """Let new connections go to these seats, and to no other. None: nobody is left to steer to."""

    seats: frozenset[int]


class WatchSeat(Action):
    """Watch a worker's seat until nobody waits there. Answer, once: `SeatEmptied`."""

    pid: int
    seat: int


class CloseSeat(Action):
    """Close a seat that no worker has once nobody waits there, at `by` anyway.

    Without `by`: if somebody waits it stays open, and the answer is `SeatWaits`, at once or later.
    Where `Spawn` failed it may never have been opened. `CloseSockets` closes it too.
    """

    seat: int
    by: float | None


class ShutDoor(Action):
    """Let nobody new in: a client's first packet is dropped from here on, its retry is refused."""


class CloseSockets(Action):
    """Close srvinit's own copies of all sockets.

    Once the last worker closes its own too, late clients are refused at once instead of waiting
    for nobody.
    """


class ReleaseSockets(Action):
    """Close the sockets that the settings no longer name: the last worker with them is gone."""


class RestoreBacklog(Action):
    """Set the listening sockets' backlog again: a server that starts may have lowered it."""


class Sweep(Action):
    """Send a signal to every orphan. Answer, at once or later: `OrphansGone`."""

    name: str


class TellManager(Action):
    """Tell srvinit's own manager something in sd_notify(3)'s words, if it has one."""

    text: str


class StopSelf(Action):
    """Stop as a job of the terminal's shell: the stop came from job control."""


class Exit(Action):
    """End srvinit with this status, and say why."""

    status: int
    reason: str
