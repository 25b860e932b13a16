"""A small HTTP/1.1 server for probes and scrapes: one loop, no thread, bounded in all it takes.

Runs in a child of its own, never in PID 1. h11 reads and writes HTTP; here are the connections.
Who asks may be slow, many, or talk nonsense; a probe that comes meanwhile is still answered:

- a whole request has `REQUEST_S` to arrive, its answer as long to be taken, however the bytes drip;
- there are `MOST_CONNECTIONS` at most: one more closes the one that has waited longest, and whoever
  connects is read at once, so a probe that sends its request is answered before that comes to it;
- each gets one answer a turn, however many requests it sends in one go;
- after its work the loop rests for three times the CPU time that took, `LONGEST_REST_S` at most: a
  flood gets a quarter of one CPU, the rest is the workers'. The kernel keeps the queue meanwhile.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import TYPE_CHECKING

import h11

from srvinit.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_CONNECTIONS = 64
REQUEST_S = 5.0
IDLE_S = 75.0  # a scraper that comes once a minute keeps its connection
LEAVING_S = 1.0  # for a client to read the last answer, whatever it is still sending
HEAD_BYTES = 8_192
BODY_BYTES = 65_536  # read and thrown away: none of the answers wants one
READ_BYTES = 16_384
DEEDS_A_TURN = 16
REST_SHARE = 3.0
LONGEST_REST_S = 0.2

TEXT = "text/plain; charset=utf-8"
METHODS = {"GET", "HEAD"}
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Answer(Record):
    """What is sent back: a status, a body and its type."""

    status: int
    body: bytes
    content_type: str = TEXT


class Question(Record):
    """What is asked: the path without its query, and the Accept header."""

    path: str
    accept: str = ""


def text(status: int, words: str) -> Answer:
    """Make an answer for people."""
    return Answer(status, f"{words}\n".encode())


class _Connection:
    """One client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self.request: h11.Request | None = None
        self.body_bytes = 0
        self.unsent = bytearray()
        self.has_more = False  # it has sent another request already
        self.is_leaving = False  # nothing it sends is of interest any more
        self.since = self.due = 0.0  # when what it does now began, and has to be done

    def begin(self, now: float, seconds: float) -> None:
        """Give it this long for what comes next."""
        self.since, self.due = now, now + seconds

    @property
    def wants(self) -> int:
        """Say what to wait for."""
        return select.EPOLLOUT if self.unsent or self.has_more else select.EPOLLIN


class Server:
    """Answers what comes to a listening socket, until `lifeline` ends or has something to say.

    `answer` must return soon. The listener is made non-blocking, and must be shared with nobody
    who minds.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[Question], Answer],
        lifeline: int,
        *,
        request_s: float = REQUEST_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._request_s = request_s
        self._idle_s = idle_s
        self._listener = listener
        self._answer = answer
        self._lifeline = lifeline
        self._clients: dict[int, _Connection] = {}
        self._epoll = select.epoll()
        listener.settimeout(0)
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._epoll.register(lifeline, select.EPOLLIN | select.EPOLLHUP)

    def serve(self) -> None:
        """Answer until the lifeline ends."""
        while self.turn():
            pass

    def close(self) -> None:
        """Close the connections; the listener and the lifeline are the caller's."""
        for client in list(self._clients.values()):
            self._close(client)
        self._epoll.close()

    def turn(self) -> bool:
        """Wait for something, and deal with all that is there; False once the lifeline ended."""
        due = min((client.due for client in self._clients.values()), default=None)
        wait_s = None if due is None else max(0.0, due - time.monotonic())
        happened = self._epoll.poll(wait_s, DEEDS_A_TURN)
        began, spent_s = time.monotonic(), time.process_time()
        for fd, _ in happened:
            if fd == self._lifeline:
                return False
            if fd == self._listener.fileno():
                self._accept(began)
            elif fd in self._clients:
                self._tend(self._clients[fd], began)
        for client in [one for one in self._clients.values() if one.due <= began]:
            self._close(client)
        time.sleep(min(LONGEST_REST_S, REST_SHARE * (time.process_time() - spent_s)))
        return True

    # --- connections -----------------------------------------------------------------------------

    def _accept(self, now: float) -> None:
        for _ in range(DEEDS_A_TURN):
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                # EAGAIN: that was all. ECONNABORTED: it has gone again. Else descriptors or memory
                # are short: one that waits makes room for the next turn.
                if error.errno not in {errno.EAGAIN, errno.ECONNABORTED}:
                    self._make_room(0)
                return
            self._make_room(MOST_CONNECTIONS - 1)
            sock.settimeout(0)
            client = self._clients[sock.fileno()] = _Connection(sock)
            client.begin(now, self._request_s)
            self._epoll.register(sock.fileno(), client.wants)
            self._tend(client, now)  # a request mostly comes with its connection

    def _make_room(self, most: int) -> None:
        if len(self._clients) > most:
            self._close(min(self._clients.values(), key=lambda client: client.since))

    def _close(self, client: _Connection) -> None:
        del self._clients[client.sock.fileno()]
        client.sock.close()  # epoll forgets it by itself: nobody else has this description

    def _tend(self, client: _Connection, now: float) -> None:
        """Send what is to be sent, else read and answer; close what has failed or ended."""
        try:
            if not client.unsent:
                self._read(client, now)
            if client.unsent:
                self._send(client, now)
        except BlockingIOError:
            pass
        except OSError:  # ECONNRESET, EPIPE, ETIMEDOUT: the client is gone, whatever it is called
            self._close(client)
            return
        if client.sock.fileno() >= 0:
            self._epoll.modify(client.sock.fileno(), client.wants)

    def _read(self, client: _Connection, now: float) -> None:
        """Take in what a client says, and answer."""
        try:
            if not client.has_more:
                received = client.sock.recv(READ_BYTES)
                if client.is_leaving:
                    if not received:
                        self._close(client)
                    return
                if client.http.their_state is h11.IDLE and not client.http.trailing_data[0]:
                    client.begin(now, self._request_s)  # the first byte of a request
                client.http.receive_data(received)
            client.has_more = False
            self._take(client)
        except h11.RemoteProtocolError as wrong:
            if client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
                raise ConnectionResetError from wrong
            self._say(client, text(wrong.error_status_hint, str(wrong)), is_last=True)

    def _send(self, client: _Connection, now: float) -> None:
        """Send what waits; then the client may ask again, or goes."""
        del client.unsent[: client.sock.send(client.unsent)]
        if client.unsent:
            return
        if client.is_leaving or client.http.our_state is h11.MUST_CLOSE:
            client.is_leaving = True
            client.begin(now, LEAVING_S)
            client.sock.shutdown(socket.SHUT_WR)
            return
        client.http.start_next_cycle()
        client.has_more = bool(client.http.trailing_data[0])
        client.begin(now, self._request_s if client.has_more else self._idle_s)

    # --- HTTP ------------------------------------------------------------------------------------

    def _take(self, client: _Connection) -> None:
        """Go through what h11 has made of the bytes, up to the end of a request: answer that."""
        for event in _events(client.http):
            if isinstance(event, h11.Request):
                client.request, client.body_bytes = event, 0
                if client.http.they_are_waiting_for_100_continue:
                    self._say(client, self._answer_to(event), is_last=True)
                    return
            elif isinstance(event, h11.Data):
                client.body_bytes += len(event.data)
                if client.body_bytes > BODY_BYTES:
                    self._say(client, text(413, "nothing here wants a body"), is_last=True)
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._say(client, self._answer_to(client.request))
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError

    def _answer_to(self, request: h11.Request | None) -> Answer:
        assert request is not None  # noqa: S101  h11: no end without a beginning
        if request.method.decode() not in METHODS:
            return text(405, "only GET and HEAD")
        headers = dict(request.headers)
        question = Question(path_of(request.target), headers.get(b"accept", b"").decode("latin-1"))
        try:
            return self._answer(question)
        except Exception as error:  # noqa: BLE001  one answer that fails must not end the others
            return text(500, f"srvinit's own fault: {type(error).__name__}: {error}")

    def _say(self, client: _Connection, answer: Answer, *, is_last: bool = False) -> None:
        """Put an answer into words; `is_last` where what follows cannot be understood any more."""
        http = client.http
        headers = [
            ("Date", http_date(time.time())),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
        ]
        if answer.status == 405:  # noqa: PLR2004  Method Not Allowed names those that are
            headers.append(("Allow", "GET, HEAD"))
        if is_last:
            headers.append(("Connection", "close"))
            client.is_leaving = True
        reason = REASONS.get(answer.status, "")
        head = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        client.unsent += http.send(head) or b""
        is_head = client.request is not None and client.request.method == b"HEAD"
        if not is_head:
            client.unsent += http.send(h11.Data(data=answer.body)) or b""
        client.unsent += http.send(h11.EndOfMessage()) or b""
        client.begin(time.monotonic(), self._request_s)


def _events(http: h11.Connection) -> Iterator[h11.Event]:
    while not isinstance(event := http.next_event(), type):  # NEED_DATA and PAUSED are types
        yield event


def path_of(target: bytes) -> str:
    """Return the path a request names: without its query, and without a proxy's host."""
    whole = target.decode("latin-1").partition("?")[0]
    for scheme in ("http://", "https://"):
        if whole.lower().startswith(scheme):
            return "/" + whole[len(scheme) :].partition("/")[2]
    return whole


def http_date(at: float) -> str:
    """Write wall-clock seconds as RFC 9110 has it, whatever the locale is."""
    now = time.gmtime(at)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {clock} GMT"
