"""A small HTTP/1.1 server for probes and scrapes: one loop, no thread, bounded in all it takes.

Runs in a child of its own, never in PID 1. h11 reads and writes HTTP; here are the connections.
Who asks may be slow, many, or talk nonsense; a probe that comes meanwhile is still answered:

- a whole request has `REQUEST_S` to arrive, its answer as long to be taken, however the bytes drip;
- each turn takes in all that has connected: where the kernel's queue is full it drops who comes,
  and TCP tries again only after a second, which is all that most probes have;
- addresses take turns, so who floods is in the way of those behind the same address alone;
- who asks what somebody has asked in the same turn, to the byte, gets the same answer: a hundredth
  of a millisecond, where h11 needs 0.3 ms;
- `MOST_CONNECTIONS` are kept. Of more, those that have waited longest are closed, first of the
  address that has most; each has had `REACH_S` until then for its request to follow it;
- each gets one answer a turn, however many requests it sends in one go;
- after its work the loop rests for three times the CPU time that took, `LONGEST_REST_S` at most: a
  flood gets a quarter of one CPU, or a half where it is so dense that to close it takes as much.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from operator import attrgetter
from typing import TYPE_CHECKING

import h11

from srvinit.record import Record
from srvinit.report.clients import Client, fairly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_CONNECTIONS = 64
MOST_HELD = 1_000  # with those whose request may be on its way: descriptors are 1,024 by default
MOST_ACCEPTED = 4_096
REACH_S = 0.1
REQUEST_S = 5.0
IDLE_S = 75.0  # a scraper that comes once a minute keeps its connection
LEAVING_S = 1.0  # for a client to read the last answer, whatever it is still sending
HEAD_BYTES = 8_192
BODY_BYTES = 65_536  # read and thrown away: none of the answers wants one
READ_BYTES = 16_384
WORK_S = 0.01  # of CPU time in a turn, for questions: the others are read in the next one
REST_SHARE = 3.0
LONGEST_REST_S = 0.05

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
        self._clients: dict[int, Client] = {}
        # What was sent in this turn to who began with these bytes; if it then ended; what was left.
        self._known: dict[bytes, tuple[bytes, bool, bytes]] = {}
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
        happened = self._epoll.poll(self._wait_s(), MOST_HELD)
        began, spent_s = time.monotonic(), time.process_time()
        self._known.clear()
        fds = [fd for fd, _ in happened]
        if self._lifeline in fds:
            return False
        ready = [self._clients[fd] for fd in fds if fd in self._clients]
        if self._listener.fileno() in fds:
            ready += self._accept(began)
        self._tend_all([client for client in ready if client.sock.fileno() >= 0], began)
        for client in [one for one in self._clients.values() if one.due <= began]:
            self._close(client)
        self._displace(began - REACH_S)
        _rest(began, time.process_time() - spent_s)
        return True

    def _wait_s(self) -> float | None:
        due = min((client.due for client in self._clients.values()), default=None)
        if due is None:
            return None
        wait_s = max(0.0, due - time.monotonic())
        return min(REACH_S, wait_s) if len(self._clients) > MOST_CONNECTIONS else wait_s

    # --- connections -----------------------------------------------------------------------------

    def _accept(self, now: float) -> list[Client]:
        """Take in all that have connected, as far as there is room."""
        came: list[Client] = []
        while len(came) < MOST_ACCEPTED:
            if len(self._clients) >= MOST_HELD:
                self._displace(now)
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                # EAGAIN: that was all. ECONNABORTED: it has gone again. Else descriptors or memory
                # are short: those that wait make room for the next turn.
                if error.errno not in {errno.EAGAIN, errno.ECONNABORTED}:
                    self._displace(now, len(self._clients) // 2)
                break
            sock.settimeout(0)
            peer = address[0] if isinstance(address, tuple) else ""
            client = self._clients[sock.fileno()] = Client(sock, peer)
            client.begin(now, self._request_s)
            came.append(client)
        return came

    def _displace(self, reached: float, most: int = MOST_CONNECTIONS) -> None:
        """Close those above so many, but for those that are younger than `reached`."""
        if len(self._clients) <= most:
            return
        oldest = sorted(self._clients.values(), key=attrgetter("since"))
        for client in fairly(reversed(oldest))[most:]:
            if client.since <= reached:
                self._close(client)

    def _close(self, client: Client) -> None:
        del self._clients[client.sock.fileno()]
        client.sock.close()  # epoll forgets it by itself: nobody else has this description

    def _tend_all(self, ready: list[Client], now: float) -> None:
        """Tend these, as far as the time of a turn goes, and wait for what each wants next."""
        until = time.process_time() + WORK_S
        for client in fairly(ready):
            self._tend(client, now)
            if time.process_time() > until:
                break
        for client in ready:
            fd, wants = client.sock.fileno(), client.wants
            if fd >= 0 and client.waited_for != wants:
                change = self._epoll.modify if client.waited_for else self._epoll.register
                change(fd, wants)
                client.waited_for = wants

    def _tend(self, client: Client, now: float) -> None:
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

    def _read(self, client: Client, now: float) -> None:
        """Take in what a client says, and answer."""
        block = client.received if client.has_more else client.sock.recv(READ_BYTES)
        if client.is_leaving:
            if not block:
                self._close(client)
            return
        try:
            if client.http is not None:
                client.http.receive_data(block)
                self._take(client, b"")
            else:
                self._begin(client, block, now)
        except h11.RemoteProtocolError as wrong:
            http = client.http
            if http is None or http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
                raise ConnectionResetError from wrong
            self._say(client, text(wrong.error_status_hint, str(wrong)), is_last=True)

    def _begin(self, client: Client, block: bytes, now: float) -> None:
        """Begin with a request, of which these bytes are the first, or the next of its head."""
        if not client.received and not client.has_more:
            client.begin(now, self._request_s)
        head = block if client.has_more else client.received + block
        client.has_more = False
        client.request = None
        if head in self._known:
            client.unsent, client.may_cut, client.received = self._known[head]
            client.begin(now, self._request_s)
        elif block and _may_go_on(head):
            client.received = head
        elif head:
            client.received = b""
            client.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
            client.http.receive_data(head)
            if not block:
                client.http.receive_data(b"")
            self._take(client, head)
        else:
            raise ConnectionResetError

    def _send(self, client: Client, now: float) -> None:
        """Send what waits; then the client may ask again, or goes."""
        client.unsent = client.unsent[client.sock.send(client.unsent) :]
        if client.unsent:
            return
        if client.may_cut:
            self._close(client)
        elif client.is_leaving:
            client.begin(now, LEAVING_S)
            client.sock.shutdown(socket.SHUT_WR)
        else:
            client.has_more = bool(client.received)
            client.begin(now, self._request_s if client.has_more else self._idle_s)

    # --- HTTP ------------------------------------------------------------------------------------

    def _take(self, client: Client, head: bytes) -> None:
        """Go through what h11 has made of the bytes, up to the end of a request: answer that.

        `head` is all that the client has sent of this request, b"" if it sent more before.
        """
        http = client.http
        assert http is not None  # noqa: S101  it has just been given something
        for event in _events(http):
            if isinstance(event, h11.Request):
                client.request, client.body_bytes = event, 0
                if http.they_are_waiting_for_100_continue:
                    self._say(client, self._answer_to(event), is_last=True)
                    return
            elif isinstance(event, h11.Data):
                client.body_bytes += len(event.data)
                if client.body_bytes > BODY_BYTES:
                    self._say(client, text(413, "nothing here wants a body"), is_last=True)
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._say(client, self._answer_to(client.request))
                client.received = http.trailing_data[0]
                if head and client.may_cut == client.is_leaving:
                    self._known[head] = client.unsent, client.may_cut, client.received
                client.http = None
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

    def _say(self, client: Client, answer: Answer, *, is_last: bool = False) -> None:
        """Put an answer into words; `is_last` where what follows cannot be understood any more."""
        http = client.http
        assert http is not None  # noqa: S101  who is answered has asked
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
        reason = REASONS.get(answer.status, "")
        head = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        parts = [http.send(head)]
        if client.request is None or client.request.method != b"HEAD":
            parts.append(http.send(h11.Data(data=answer.body)))
        parts.append(http.send(h11.EndOfMessage()))
        client.unsent = b"".join(part for part in parts if part)
        client.is_leaving = is_last or http.our_state is h11.MUST_CLOSE
        client.may_cut = client.is_leaving and not is_last and not http.trailing_data[0]
        client.begin(time.monotonic(), self._request_s)


def _rest(began: float, used_s: float) -> None:
    """Leave the CPU to others for three times what was used; what they took meanwhile counts."""
    left_s = (1 + REST_SHARE) * used_s - (time.monotonic() - began)
    time.sleep(max(0.0, min(LONGEST_REST_S, left_s)))


def _may_go_on(head: bytes) -> bool:
    """Tell whether these bytes begin a request whose head has not ended yet."""
    is_sane = head[:1].isupper() and len(head) <= HEAD_BYTES
    return is_sane and b"\n\r\n" not in head and b"\n\n" not in head


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
