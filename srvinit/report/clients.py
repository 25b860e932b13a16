"""The clients of the probes' server: what is known of each, and who comes first.

No system call is made here. A flood comes from few addresses, a probe mostly from one of its own:
where there are more clients than can be served, or kept, addresses take turns.
"""

from __future__ import annotations

import select
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    import h11


class Client:
    """One connection to the server, and how far its request and answer are."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock = sock
        self.peer = peer  # its address without the port; "" at a Unix socket
        self.received = b""  # and not looked at yet: h11 gets a request's head in one piece
        self.http: h11.Connection | None = None  # from there to the request's end
        self.request: h11.Request | None = None
        self.body_bytes = 0
        self.unsent = b""
        self.has_more = False  # it has sent another request already
        self.is_leaving = False  # nothing it sends is of interest any more
        self.may_cut = False  # nor has it sent anything more: closing loses nothing on its way
        self.waited_for = 0  # what epoll has been told
        self.since = self.due = 0.0  # when what it does now began, and has to be done

    def begin(self, now: float, seconds: float) -> None:
        """Give it this long for what comes next."""
        self.since, self.due = now, now + seconds

    @property
    def wants(self) -> int:
        """Say what to wait for."""
        return select.EPOLLOUT if self.unsent or self.has_more else select.EPOLLIN


def fairly(clients: Iterable[Client]) -> list[Client]:
    """Put the first of each address first, then the second of each, and so on."""
    place: dict[str, int] = {}
    order = []
    for number, client in enumerate(clients):
        place[client.peer] = mine = place.get(client.peer, -1) + 1
        order.append((mine, number, client))
    order.sort(key=itemgetter(0, 1))
    return [client for _, _, client in order]
