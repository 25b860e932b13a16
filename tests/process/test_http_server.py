"""The probes' HTTP server against clients that are slow, many, or talk nonsense."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from srvinit.report import http
from srvinit.report.http import Answer, Question, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[], socket.socket]
    Flood = Callable[..., list[socket.socket]]

LARGE = b"x" * 8_000_000  # more than any pair of socket buffers takes


NUMBERS = itertools.count()


def answer(question: Question) -> Answer:
    if question.path == "/broken":
        raise ZeroDivisionError("on purpose")
    if question.path == "/large":
        return Answer(200, LARGE)
    if question.path == "/number":
        return http.text(200, f"answer {next(NUMBERS)}")
    return http.text(200, f"{question.path} {question.accept}")


@pytest.fixture
def serve() -> Iterator[Callable[..., Connect]]:
    """Serve in a thread, with these limits; hand out connections to it."""
    with contextlib.ExitStack() as stack:

        def start(**limits: float) -> Connect:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            ours, theirs = os.pipe()
            server = Server(listener, answer, ours, **limits)
            thread = threading.Thread(target=server.serve)
            stack.callback(os.close, ours)
            stack.callback(server.close)
            stack.callback(join, thread)
            stack.callback(os.close, theirs)
            thread.start()
            address = listener.getsockname()
            return lambda: stack.enter_context(socket.create_connection(address, 5))

        yield start


def join(thread: threading.Thread) -> None:
    thread.join(5)
    assert not thread.is_alive(), "the lifeline's end ends the server"


@pytest.fixture
def connect(serve: Callable[..., Connect]) -> Connect:
    return serve()


def until_end(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def has_ended(client: socket.socket) -> bool:
    try:
        return client.recv(65536) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def one_answer(client: socket.socket) -> tuple[bytes, bytes]:
    """Return the head and the body of one answer, which may not be the connection's last."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head, body


def ask(client: socket.socket, target: str = "/livez", more: str = "") -> tuple[bytes, bytes]:
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: it\r\n{more}\r\n".encode())
    return one_answer(client)


def test_a_kept_alive_connection_is_answered_again_and_again(connect: Connect) -> None:
    client = connect()

    for _ in range(3):
        head, body = ask(client, "/livez?verbose", "Accept: text/plain\r\n")

        assert head.startswith(b"HTTP/1.1 200")
        assert body == b"/livez text/plain\n"


def test_requests_sent_in_one_go_are_answered_in_their_order(connect: Connect) -> None:
    client = connect()
    paths = [f"/{number}" for number in range(100)]
    last = "GET /end HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n"

    client.sendall("".join(f"GET {it} HTTP/1.1\r\nHost: it\r\n\r\n" for it in paths).encode())
    client.sendall(last.encode())

    answers = until_end(client).decode().split("HTTP/1.1 200 OK\r\n")[1:]
    assert [it.partition("\r\n\r\n")[2].strip() for it in answers] == [*paths, "/end"]


def test_head_has_the_length_and_no_body(connect: Connect) -> None:
    client = connect()
    client.sendall(b"HEAD /livez HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")

    head, _, body = until_end(client).partition(b"\r\n\r\n")

    assert b"Content-Length: 8" in head
    assert body == b""


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "OPTIONS", "BREW"])
def test_other_methods_are_refused_by_name(connect: Connect, method: str) -> None:
    client = connect()
    client.sendall(f"{method} / HTTP/1.1\r\nHost: it\r\nContent-Length: 4\r\n\r\nbody".encode())

    head, body = one_answer(client)

    assert head.startswith(b"HTTP/1.1 405")
    assert b"Allow: GET, HEAD" in head
    assert body == b"only GET and HEAD\n"
    assert ask(client)[1] == b"/livez \n", "the connection goes on"


@pytest.mark.parametrize(
    ("nonsense", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: it\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X-It: " + b"a" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: it\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000), b"413"),
        (b"GET / HTTP/1.1\r\nHost: it\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
    ids=["tls", "no host", "two lengths", "long target", "long header", "long body", "coding"],
)
def test_nonsense_gets_an_answer_and_the_connection_ends(
    connect: Connect, nonsense: bytes, status: bytes
) -> None:
    client = connect()
    client.sendall(nonsense)

    assert until_end(client).startswith(b"HTTP/1.1 " + status)
    assert ask(connect())[0].startswith(b"HTTP/1.1 200")


def test_who_waits_for_leave_to_send_a_body_is_told_at_once(connect: Connect) -> None:
    client = connect()
    head = b"POST / HTTP/1.1\r\nHost: it\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    client.sendall(head)

    assert until_end(client).startswith(b"HTTP/1.1 405")


def test_an_old_client_is_answered_and_left(connect: Connect) -> None:
    client = connect()
    client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")

    assert until_end(client).endswith(b"/livez \n")


def test_an_answer_that_fails_is_500_and_ends_nothing(connect: Connect) -> None:
    client = connect()

    head, body = ask(client, "/broken")

    assert head.startswith(b"HTTP/1.1 500")
    assert b"ZeroDivisionError: on purpose" in body
    assert ask(client)[0].startswith(b"HTTP/1.1 200")


def test_an_answer_of_any_size_arrives_whole(connect: Connect) -> None:
    assert ask(connect(), "/large")[1] == LARGE


def test_who_connects_too_often_displaces_who_has_waited_longest(connect: Connect) -> None:
    first = connect()
    others = [connect() for _ in range(http.MOST_CONNECTIONS)]

    assert until_end(first) == b""
    assert ask(others[-1])[0].startswith(b"HTTP/1.1 200")
    assert ask(others[0])[0].startswith(b"HTTP/1.1 200"), "no more than needed were displaced"


@pytest.fixture
def by_hand() -> Iterator[tuple[Server, Flood]]:
    """Have a server whose turns the test takes, and who connects to it from an address."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        ours, theirs = os.pipe()
        stack.callback(os.close, ours)
        stack.callback(os.close, theirs)
        server = Server(listener, answer, ours)
        stack.callback(server.close)

        def connect(number: int, source: str, sent: bytes = b"") -> list[socket.socket]:
            where, whence = listener.getsockname(), (source, 0)
            made = [
                stack.enter_context(socket.create_connection(where, 5, whence))
                for _ in range(number)
            ]
            for client in made:
                client.sendall(sent)
            return made

        yield server, connect


PROBE = b"GET /livez HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /", b"\0" * 100, PROBE, PROBE.replace(b"close", b"keep-alive") * 20],
    ids=["nothing", "half", "nonsense", "probes", "many in one go"],
)
def test_a_probe_behind_a_flood_is_answered_in_the_turn_that_finds_it(
    by_hand: tuple[Server, Flood], sent: bytes
) -> None:
    """More connections than are ever kept came before it: all are taken in, and it has its turn."""
    server, connect = by_hand
    connect(http.MOST_HELD + 100, "127.0.0.2", sent)
    [probe] = connect(1, "127.0.0.1", PROBE)

    server.turn()

    assert until_end(probe).endswith(b"/livez \n")


def test_a_probe_whose_request_comes_late_finds_its_connection_still_there(
    by_hand: tuple[Server, Flood],
) -> None:
    """Between a probe's connection and its request a flood goes on, from the same address too."""
    server, connect = by_hand
    connect(http.MOST_CONNECTIONS * 2, "127.0.0.1")
    [probe] = connect(1, "127.0.0.1")
    server.turn()
    connect(http.MOST_CONNECTIONS * 2, "127.0.0.1")
    probe.sendall(PROBE)

    server.turn()

    assert until_end(probe).endswith(b"/livez \n")


def test_a_flood_displaces_its_own_and_not_a_scraper_that_keeps_its_connection(
    by_hand: tuple[Server, Flood],
) -> None:
    server, connect = by_hand
    [scraper] = connect(1, "127.0.0.1", PROBE.replace(b"close", b"keep-alive"))
    server.turn()
    assert one_answer(scraper)[1] == b"/livez \n"

    for _ in range(2):
        connect(http.MOST_HELD, "127.0.0.2")
        server.turn()
        time.sleep(http.REACH_S)  # what is tested is who is closed for having waited this long
    scraper.sendall(PROBE)
    server.turn()

    assert until_end(scraper).endswith(b"/livez \n")


def test_the_same_question_in_one_turn_is_answered_once_and_anew_in_the_next(
    by_hand: tuple[Server, Flood],
) -> None:
    server, connect = by_hand
    answers = []
    for _ in range(2):
        clients = connect(20, "127.0.0.1", PROBE.replace(b"/livez", b"/number"))
        server.turn()
        answers.append({until_end(client).partition(b"answer ")[2] for client in clients})

    assert [len(found) for found in answers] == [1, 1]
    assert answers[0] != answers[1]


def test_more_that_came_with_the_last_request_does_not_cost_its_answer(
    by_hand: tuple[Server, Flood],
) -> None:
    server, connect = by_hand
    [client] = connect(1, "127.0.0.1", PROBE * 2)

    server.turn()

    assert until_end(client).count(b"/livez \n") == 1


@pytest.mark.parametrize("sent", [b"", b"GET /"], ids=["nothing", "half"])
def test_who_does_not_finish_a_request_is_left(serve: Callable[..., Connect], sent: bytes) -> None:
    client = serve(request_s=0.2)()
    client.sendall(sent)

    assert until_end(client) == b""


def test_a_request_in_drips_gets_no_more_time_than_one_in_one_piece(
    serve: Callable[..., Connect],
) -> None:
    client = serve(request_s=0.5)()
    client.settimeout(0.01)  # the drip itself
    began = time.monotonic()

    while not has_ended(client):
        assert time.monotonic() < began + 10
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"a")

    assert time.monotonic() - began > 0.4


def test_who_does_not_take_its_answer_is_left(serve: Callable[..., Connect]) -> None:
    connect = serve(request_s=0.5)
    client = connect()
    client.sendall(b"GET /large HTTP/1.1\r\nHost: it\r\n\r\n")
    client.recv(1)

    assert ask(connect())[0].startswith(b"HTTP/1.1 200"), "others are answered meanwhile"
    time.sleep(1)  # what is tested is that nothing is sent after this
    with contextlib.suppress(ConnectionResetError):
        assert len(until_end(client)) < len(LARGE)


def test_an_idle_connection_ends_in_time(serve: Callable[..., Connect]) -> None:
    client = serve(idle_s=0.2)()
    ask(client)

    assert until_end(client) == b""
