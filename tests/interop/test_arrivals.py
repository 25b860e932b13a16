"""The instrument of bench/steering.py: a slow answer must not keep later requests waiting."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import harness
import pytest
import readme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = readme.ROOT / "bench" / "helpers" / "arrivals.c"
SLOW_S = 0.4
ANSWERS = {
    b"/": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n7\n",
    b"/slow": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n7\n",
    b"/5xx": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    b"/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n7\n",
    b"/none": b"",
}


class OneAtATime:
    """Serves one connection after the other; a kept one until its client goes."""

    def __init__(self, served: list[tuple[int, bytes]]) -> None:
        self._served = served
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while request := connection.recv(65536):
                    path = request.split()[1]
                    if path == b"/slow":
                        time.sleep(SLOW_S)
                    self._served.append((self.port, path))
                    connection.sendall(ANSWERS[path])
                    if b"Connection: close" in request or path == b"/cut":
                        break


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrivals") / "arrivals"
    compiler = harness.program("cc")
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-o", path, SOURCE], check=True)
    return path


@pytest.fixture
def served() -> list[tuple[int, bytes]]:
    return []


@pytest.fixture
def ports(served: list[tuple[int, bytes]]) -> Iterator[list[int]]:
    servers = [OneAtATime(served) for _ in range(2)]
    yield [server.port for server in servers]
    for server in servers:
        server.close()


def outcomes(
    program: Path, ports: list[int], kind: str, schedule: list[tuple[int, int, str]], **how: int
) -> list[dict[str, Any]]:
    lines = "\n".join(f"{due} {where} {path}" for due, where, path in schedule)
    where = ",".join(map(str, ports))
    command = [program, where, kind, str(how.get("clients", 8)), str(how.get("end_us", 0))]
    told = subprocess.run(
        command, input=lines, capture_output=True, check=True, text=True, timeout=60
    )
    found = []
    for line in told.stdout.splitlines():
        due, late, took, word = line.split()
        found.append({"due": int(due), "late": int(late), "took": int(took), "how": word})
    return found


def test_requests_that_are_due_behind_a_slow_one_are_sent_and_wait(
    program: Path, ports: list[int]
) -> None:
    """What comes 50 ms after it waits for the rest of it: a closed loop would have sent nothing."""
    schedule = [(i * 5000, 0, "/slow" if i == 10 else "/") for i in range(60)]

    found = outcomes(program, ports, "new", schedule)

    assert [it["how"] for it in found] == ["ok"] * 60
    assert [it["due"] for it in found] == [due for due, _, _ in schedule]
    slow_until = 50_000 + SLOW_S * 1e6
    for it in found[11:]:
        assert it["due"] + it["took"] >= slow_until


def test_a_kept_request_waits_for_a_connection_and_its_time_counts_from_when_it_was_due(
    program: Path, ports: list[int]
) -> None:
    found = outcomes(program, ports, "kept", [(0, 0, "/slow"), (1000, 0, "/")], clients=1)

    assert [it["how"] for it in found] == ["ok", "ok"]
    assert found[1]["late"] >= SLOW_S * 1e6 - 1000
    assert found[1]["took"] >= found[1]["late"]


def test_a_slice_begins_when_all_before_have_ended(
    program: Path, ports: list[int], served: list[tuple[int, bytes]]
) -> None:
    """And its clock begins then: nobody's slow request is another's loss."""
    found = outcomes(program, ports, "new", [(0, 0, "/"), (1000, 0, "/slow"), (0, 1, "/")])

    assert [it["how"] for it in found] == ["ok"] * 3
    assert [port for port, _ in served] == [ports[0], ports[0], ports[1]]
    assert found[1]["took"] >= SLOW_S * 1e6
    assert found[2]["due"] == 0
    assert found[2]["took"] < SLOW_S * 1e6


def test_at_saturation_each_end_is_followed_by_the_next_request(
    program: Path, ports: list[int]
) -> None:
    schedule = [(i * 1000, 0, "/") for i in range(100_000)]

    found = outcomes(program, ports, "new", schedule, clients=4, end_us=200_000)

    assert 4 < len(found) < 100_000
    assert {it["how"] for it in found} == {"ok"}
    assert [it["due"] for it in found[:4]] == [0, 1000, 2000, 3000]
    assert all(it["due"] <= 200_000 for it in found)


def test_each_way_to_lose_a_request_is_told_from_the_others(
    program: Path, ports: list[int]
) -> None:
    paths = ["/", "/5xx", "/cut", "/none"]
    schedule = [(i * 1000, 0, path) for i, path in enumerate(paths)]
    schedule.append((5000, 2, "/"))

    found = outcomes(program, [*ports, harness.free_port()], "new", schedule)

    assert [it["how"] for it in found] == ["ok", "5xx", "cut", "no_answer", "refused"]
