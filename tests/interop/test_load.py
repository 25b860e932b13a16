"""The instrument itself: load.py must count each way to lose a request as what it is."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import harness
from load import Load

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n7\n"
FAILURE = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n7\n"


class Scripted:
    """A server that does with its connections, one after the other, what the script says.

    Each step waits for a request and does something about it: bytes are the answer; "close",
    "reset", "cut" (half an answer) and "bye" (a whole one) end the connection; "wait" waits until
    the client has. A connection that is not in the script is closed as it comes.
    """

    def __init__(self, *script: list[bytes | str]) -> None:
        self.script = list(script)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(ConnectionError):
                    for step in self.script.pop(0) if self.script else ["close"]:
                        if not connection.recv(65536) or not self._does(connection, step):
                            break

    def _does(self, connection: socket.socket, step: bytes | str) -> bool:
        """Carry out one step; False if it ends the connection."""
        if isinstance(step, bytes):
            connection.sendall(step)
            return True
        if step == "reset":
            linger_for_0_s = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_0_s)
        elif step != "close":
            connection.sendall({"cut": HALF, "bye": ANSWER, "wait": b""}[step])
        return step == "wait"


@contextlib.contextmanager
def scripted(*script: list[bytes | str]) -> Iterator[int]:
    server = Scripted(*script)
    try:
        yield server.port
    finally:
        server.close()


def figures(port: int, requests: int, **options: Any) -> dict[str, Any]:
    with Load(port, **options) as load:
        load.wait_requests(requests)
        return load.stop()


def test_each_way_to_lose_a_request_is_told_from_the_others() -> None:
    script: list[list[bytes | str]] = [
        [ANSWER, "wait"],
        ["close"],
        ["reset"],
        ["cut"],
        ["wait", "wait"],
        [FAILURE, "wait"],
        [ANSWER, "wait"],
    ]
    with scripted(*script) as port:
        found = figures(port, len(script), new=1, kept=0, rate=50, timeout=0.3)["new"]
    assert (found["ok"], found["no_answer"], found["reset"]) == (2, 1, 1)
    assert (found["timeout"], found["cut"], found["status_5xx"]) == (1, 1, 1)
    assert (found["requests"], found["lost"]) == (7, 4)


def test_where_nobody_listens_each_request_is_refused() -> None:
    found = figures(harness.free_port(), 3, new=1, kept=0, rate=50)["new"]
    assert found["refused"] == found["lost"] == found["requests"] >= 3


def test_a_request_lost_on_an_idle_kept_connection_is_not_sent_again() -> None:
    with scripted([ANSWER, ANSWER, "close"], [ANSWER, "wait"]) as port:
        found = figures(port, 4, new=0, kept=1, rate=50)["kept"]
    assert (found["ok"], found["no_answer"], found["lost_on_idle"]) == (3, 1, 1)
    assert (found["connections"], found["closed_idle"]) == (2, 0)


def test_a_kept_connection_closed_while_nothing_is_under_way_loses_nothing() -> None:
    with scripted([ANSWER, "bye"], [ANSWER, "wait"]) as port:
        found = figures(port, 3, new=0, kept=1, rate=50)["kept"]
    assert (found["ok"], found["lost"], found["closed_idle"]) == (3, 0, 1)


def test_phases_have_figures_of_their_own() -> None:
    with scripted([ANSWER] * 9) as port, Load(port, new=0, kept=1, rate=50) as load:
        load.wait_requests(2)
        load.phase("recycle")
        load.wait_requests(2)
        found = load.stop()
    phases = found["phases"]
    assert phases["steady"]["requests"] >= 2
    assert phases["recycle"]["requests"] >= 2
    assert sum(phase["requests"] for phase in phases.values()) == found["requests"]
    assert found["workers"] == {"7": found["requests"]}
    assert 0 < phases["recycle"]["p50_ms"] <= phases["recycle"]["max_ms"]
