"""HTTP/1.1 clients that count every request that gets no answer; stdlib alone, one thread.

As a program:  python tests/load.py 127.0.0.1:8099 --new 8 --kept 8 --rate 1000 --seconds 10
As a library:  with Load(port, new=8, kept=8) as load: load.phase("recycle"); figures = load.stop()

There are two kinds of client. A "new" one makes a connection for each request. A "kept" one sends
its next request on the same connection, until the server closes that or says it will. Nothing is
ever sent twice: real clients retry a lost request on a kept connection, and so hide it.

Before a kept connection is used again it is looked at, as HTTP libraries do: if the server has
closed it already, no request is lost (`closed_idle`). If the close crosses the request on its way,
the request is lost, and counted as such (`lost_on_idle`).

Lost means: refused, reset, no_answer (the connection ended before a byte of the answer), cut (it
ended within the answer) or timeout. A 5xx is an answer, and is counted by itself.

While it runs, commands come in by stdin, one a line, and each is answered by a line of JSON:
"phase NAME" (what ends from now on counts for that phase), "requests N" (answered when N more have
ended), "figures" and "stop". The end of stdin, TERM, INT and `--seconds` stop it as well. The last
line of stdout is the summary.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import heapq
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from figures import KEPT, NEW, Figures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

APART, CONNECTING, WAITING, IDLE = range(4)  # what a client's connection is doing
EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
PAUSE_AFTER_LOSS = 0.01  # a refused client would spin
LOOK_FOR_TIMEOUTS = 0.05


class Client:
    """One client: it has at most one connection, and on that at most one request."""

    __slots__ = ("answered", "began", "connection", "due", "kind", "received", "state", "worker")

    def __init__(self, kind: str, due: float) -> None:
        self.kind = kind
        self.due = due  # when its next request is to begin
        self.state = APART
        self.connection: socket.socket | None = None
        self.answered = 0  # on this connection
        self.worker = ""  # the pid that answered last
        self.received = b""
        self.began = 0.0


class Generator:
    """All clients in one epoll loop: some 10,000 requests a second on a core of 2020."""

    def __init__(self, options: argparse.Namespace) -> None:
        kinds = [NEW] * options.new + [KEPT] * options.kept
        self.family, self.address = _parsed(options.address)
        self.timeout = options.timeout
        self.interval = len(kinds) / options.rate if options.rate else 0.0
        self.figures = Figures()
        self._report_at = 0  # requests ended when "requests N" is answered; 0: nobody waits
        self._requests = {kind: _request(options.path, kind) for kind in (NEW, KEPT)}
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}  # by the fd of their connection
        # Spread over the interval, so that they do not all send in the same instant
        start = time.perf_counter()
        spread = [start + self.interval * i / len(kinds) for i in range(len(kinds))]
        self._queue = [
            (due, number, Client(kind, due))
            for number, (kind, due) in enumerate(zip(kinds, spread, strict=True))
        ]
        self._tick = len(kinds)

    def run(self, commands: int | None, seconds: float) -> None:
        """Send requests until a command, its end, or the time says so."""
        stop_at = time.perf_counter() + seconds
        look_at = 0.0
        if commands is not None:
            self._epoll.register(commands, select.EPOLLIN)
        while (now := time.perf_counter()) < stop_at:
            while self._queue and self._queue[0][0] <= now:
                self._begin(heapq.heappop(self._queue)[2])
            if now >= look_at:
                look_at = now + LOOK_FOR_TIMEOUTS
                self._end_overdue(now)
            if self._report_at and self.figures.ended >= self._report_at:
                self._report_at = 0
                _say({"requests": self.figures.ended})
            next_at = min(look_at, self._queue[0][0] if self._queue else look_at)
            for fd, what in self._epoll.poll(max(0.0, next_at - time.perf_counter())):
                if fd == commands:
                    if not self._obey(os.read(fd, 65536)):
                        return
                elif fd in self._clients:
                    self._on_event(self._clients[fd], what)

    def _obey(self, block: bytes) -> bool:
        """Carry out commands; False if one, or the end of them, says stop."""
        for line in block.decode().splitlines():
            word, _, rest = line.partition(" ")
            if word == "stop":
                return False
            if word == "phase":
                self.figures.enter(rest)
                _say({"phase": rest})
            elif word == "requests":
                self._report_at = self.figures.ended + int(rest)
            elif word == "figures":
                _say(self.figures.summary())
        return bool(block)

    # -- a request's way --------------------------------------------------------------------------

    def _begin(self, client: Client) -> None:
        client.began = time.perf_counter()
        if client.state == IDLE:
            if not self._was_closed(client):
                self._send(client)
                return
            self.figures.counts[KEPT]["closed_idle"] += 1
            self._part(client)
        client.received = b""
        client.answered = 0
        client.connection = connection = socket.socket(self.family, socket.SOCK_STREAM)
        connection.settimeout(0)
        if self.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.state = CONNECTING
        number = connection.connect_ex(self.address)
        if number not in {0, errno.EINPROGRESS}:
            self._lose(client, "refused")
            return
        self.figures.counts[client.kind]["connections"] += 1
        self._clients[connection.fileno()] = client
        self._epoll.register(connection, EVENTS)

    def _was_closed(self, client: Client) -> bool:
        assert client.connection is not None
        try:
            client.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # its end, or an answer nobody asked for

    def _send(self, client: Client) -> None:
        assert client.connection is not None
        client.state = WAITING
        client.received = b""
        try:
            client.connection.send(self._requests[client.kind])
        except OSError:
            self._lose(client, "reset")

    def _on_event(self, client: Client, what: int) -> None:
        assert client.connection is not None
        if client.state == CONNECTING:
            number = client.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self._lose(client, "refused" if number == errno.ECONNREFUSED else "reset")
                return
            self._send(client)  # what has come already brings another event
        elif client.state == WAITING and what & ~select.EPOLLOUT:
            self._receive(client)

    def _receive(self, client: Client) -> None:
        assert client.connection is not None
        while client.state == WAITING:
            try:
                block = client.connection.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                self._lose(client, "reset")
                return
            client.received += block
            whole = _answer(client.received, ended=not block)
            if whole:
                self._finish(client, *whole)
            elif not block:
                self._lose(client, "cut" if client.received else "no_answer")

    def _finish(self, client: Client, status: bytes, body: bytes, stays: bool) -> None:  # noqa: FBT001
        now = time.perf_counter()
        self.figures.answer(client, now, status, body)
        client.answered += 1
        client.worker = body.decode(errors="replace").strip()
        client.state = IDLE
        if client.kind == NEW or not stays:
            self._part(client)
        self._plan(client, max(client.due + self.interval, now))

    def _lose(self, client: Client, how: str) -> None:
        self.figures.loss(client, how)
        self._part(client)
        self._plan(client, time.perf_counter() + max(self.interval, PAUSE_AFTER_LOSS))

    def _part(self, client: Client) -> None:
        assert client.connection is not None
        self._clients.pop(client.connection.fileno(), None)  # close() leaves the epoll set too
        client.connection.close()
        client.connection = None
        client.state = APART

    def _plan(self, client: Client, due: float) -> None:
        client.due = due
        self._tick += 1
        heapq.heappush(self._queue, (due, self._tick, client))

    def _end_overdue(self, now: float) -> None:
        for client in list(self._clients.values()):
            if client.state != IDLE and now - client.began > self.timeout:
                self._lose(client, "timeout")


def _parsed(address: str) -> tuple[socket.AddressFamily, Any]:
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host.strip("[]"), int(port))
    return socket.AF_INET, (host or "127.0.0.1", int(port))


def _request(path: str, kind: str) -> bytes:
    connection = "keep-alive" if kind == KEPT else "close"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n".encode()


def _answer(received: bytes, *, ended: bool) -> tuple[bytes, bytes, bool] | None:
    """Return status, body and whether the connection stays, if the answer is whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    head = head.lower() + b"\r\n"
    status = head[9:12]
    stays = b"\r\nconnection: close\r\n" not in head and (
        head.startswith(b"http/1.1") or b"\r\nconnection: keep-alive\r\n" in head
    )
    _, has_length, rest = head.partition(b"\r\ncontent-length:")
    if has_length:
        length = int(rest[: rest.index(b"\r\n")])
        return (status, body, stays and not ended) if len(body) >= length else None
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        return (status, b"", stays and not ended) if body.endswith(b"0\r\n\r\n") else None
    return (status, body, False) if ended else None  # RFC 9112, 6.3: it lasts until the end


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# -- as a library ----------------------------------------------------------------------------------


class Load:
    """The program below as a child, so that it has a core and an interpreter lock of its own."""

    def __init__(self, address: int | str, **options: float | str) -> None:
        where = f"127.0.0.1:{address}" if isinstance(address, int) else address
        flags = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, __file__, where, "--commands", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def phase(self, name: str) -> None:
        """Enter a phase; when this returns, everything that ends counts for it."""
        self._ask(f"phase {name}")

    def wait_requests(self, number: int) -> None:
        """Wait until so many more requests have been answered or lost."""
        self._ask(f"requests {number}")

    def figures(self) -> dict[str, Any]:
        """Return the summary up to now."""
        return self._ask("figures")

    def stop(self) -> dict[str, Any]:
        """Stop, and return the summary."""
        return self._ask("stop")

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


# -- as a program ----------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Run as the command line says, and print the summary; 1 if a request was lost."""
    parser = argparse.ArgumentParser(description="HTTP load that counts every lost request")
    parser.add_argument("address", help="HOST:PORT, [HOST]:PORT, :PORT or unix:PATH")
    parser.add_argument("--new", type=int, default=8, help="clients with a connection a request")
    parser.add_argument("--kept", type=int, default=8, help="clients that keep their connection")
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: all it can")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds until given up")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after so long")
    parser.add_argument("--path", default="/")
    parser.add_argument("--commands", action="store_true", help="read commands from stdin")
    options = parser.parse_args(arguments)
    generator = Generator(options)

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    gc.disable()  # no cycles here, and a collection would be seen in the latencies
    with contextlib.suppress(KeyboardInterrupt):
        generator.run(sys.stdin.fileno() if options.commands else None, options.seconds)
    summary = generator.figures.summary()
    _say(summary)
    return 1 if summary[NEW]["lost"] or summary[KEPT]["lost"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
