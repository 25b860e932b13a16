"""What answers probes and scrapes: the endpoint's helper, a process of its own beside PID 1.

It reads what srvinit publishes (report/status.py) and what /proc tells, anew for each question, and
talks to nobody else. So it may die at any moment and be started again: all that is lost is what
the workers that have ended had used of the CPU before.
"""

from __future__ import annotations

import gc
import json
import posix
import socket
import time
from typing import TYPE_CHECKING, Any

from srvinit.kernel import procfs, tcp_table, usage
from srvinit.report import exposition, metrics, reading
from srvinit.report.http import Answer, Question, Server, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from srvinit.kernel.usage import Process, Usage

JSON = "application/json"
PATHS = "/livez, /readyz, /metrics, /status"
# How old an answer to a scrape may be: a hundred a second cost no more than ten, and all of them
# together a tenth of the time. /proc/net/tcp alone takes 6 ms, and tcp6 as long, since the kernel
# goes through a table for all connections of the machine (262,144 places, none of them taken).
SCRAPE_S = 0.1
SCRAPE_SHARE = 0.1
# PSS walks all of a process's page tables: not more often than this, and a hundredth of the time.
PSS_S = 15.0
PSS_SHARE = 0.01
FOREIGN_PROC = "srvinit's status cannot be read: /proc is not of this PID namespace"
COUNTED = ("ListenOverflows", "ListenDrops")


def run(listener_fd: int, lifeline_fd: int, srvinit_pid: int) -> None:
    """Answer until the lifeline ends. The descriptors are ours from here on."""
    gc.freeze()  # all that srvinit had made: to look it through would copy its pages
    listener = socket.socket(fileno=listener_fd)
    Server(listener, Answering(srvinit_pid), lifeline_fd).serve()


class Answering:
    """Answers each question out of the status of the srvinit with this pid, our parent."""

    def __init__(self, srvinit_pid: int) -> None:
        self._pid = srvinit_pid
        self._accounts = metrics.Accounts()
        self._exposition: exposition.Exposition | None = None
        self._is_loaded = False
        self._pss: dict[int, tuple[int | None, float]] = {}  # and until when it holds, by pid
        self._scraped: dict[str, tuple[float, Answer]] = {}  # by Accept header
        self._answers = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/status": self._status,
            "/metrics": self._metrics,
        }

    def __call__(self, question: Question) -> Answer:
        """Answer a question."""
        found = self._answers.get(question.path)
        if found is None:
            return text(404, f"there is {PATHS}")
        try:
            return found(question)
        except reading.NoStatusError as unknown:
            return text(503, str(unknown))

    def _livez(self, _question: Question) -> Answer:
        document = parsed(read_status(self._pid))
        return text(200, f"srvinit lives, and is {document['phase']}")

    def _readyz(self, _question: Question) -> Answer:
        document = parsed(read_status(self._pid))
        return text(200 if document["ready"] else 503, document["why"])

    def _status(self, _question: Question) -> Answer:
        return Answer(200, read_status(self._pid), JSON)

    def _metrics(self, question: Question) -> Answer:
        if not self._is_loaded:
            self._is_loaded, self._exposition = True, exposition.load()
        if self._exposition is None:
            return text(501, exposition.NOT_INSTALLED)
        now = time.monotonic()
        until, answer = self._scraped.get(question.accept, (0.0, None))
        if answer is None or now >= until:
            encode, content_type = self._exposition.choose(question.accept)
            document = parsed(read_status(self._pid))
            made = metrics.samples(document, self._read(document), self._accounts)
            answer = Answer(200, encode(metrics.Collector(self._exposition, made)), content_type)
            done = time.monotonic()
            until = done + max(SCRAPE_S, (done - now) / SCRAPE_SHARE)
            self._scraped = {question.accept: (until, answer)}
        return answer

    # --- what the kernel tells -------------------------------------------------------------------

    def _read(self, document: Mapping[str, Any]) -> metrics.Readings:
        living = usage.processes()
        leaders = [worker["pid"] for worker in document["workers"]]
        own = living.get(self._pid)
        counted = usage.netstat(COUNTED)
        return metrics.Readings(
            now=time.time(),
            workers=self._uses(leaders, living),
            own=None if own is None else usage.own_usage(own),
            queues=_queues(document["sockets"]),
            longest_queue=_somaxconn(),
            listen_overflows=counted.get("ListenOverflows"),
            listen_drops=counted.get("ListenDrops"),
        )

    def _uses(self, leaders: Iterable[int], living: Mapping[int, Process]) -> dict[int, Usage]:
        families = usage.families(leaders, living)
        self._pss = {pid: known for pid, known in self._pss.items() if pid in living}
        return {
            leader: usage.usage_of(leader, family, self._pss_of(family))
            for leader, family in families.items()
        }

    def _pss_of(self, family: Iterable[Process]) -> int | None:
        """Add up the PSS of a family, some of it as of a while ago; None if one's is not told."""
        total = 0
        for process in family:
            now = time.monotonic()
            share, until = self._pss.get(process.pid, (None, 0.0))
            if now >= until:
                share = usage.pss_bytes(process.pid)
                took_s = time.monotonic() - now
                self._pss[process.pid] = (share, now + max(PSS_S, took_s / PSS_SHARE))
            if share is None:
                return None
            total += share
        return total


def read_status(pid: int) -> bytes:
    """Read what our parent publishes. Raises NoStatusError, in words for people."""
    if posix.getppid() != pid:
        raise reading.NoStatusError(f"srvinit (pid {pid}) is gone")
    try:
        is_ours = posix.readlink("/proc/self") == str(posix.getpid())
    except OSError:  # ENOENT: there is no /proc
        is_ours = False
    if not is_ours:  # it would show somebody else as that pid
        raise reading.NoStatusError(FOREIGN_PROC)
    return reading.read(pid)


def parsed(whole: bytes) -> dict[str, Any]:
    """Read the document."""
    document: dict[str, Any] = json.loads(whole)
    return document


def _queues(sockets: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """Ask how many connections wait at each TCP socket."""
    inodes = {one["inode"] for one in sockets if one["kind"] == "tcp"}
    if not inodes:
        return {}
    rows = [
        row for family in (socket.AF_INET, socket.AF_INET6) for row in tcp_table.listening(family)
    ]
    return {row.inode: row.waiting for row in rows if row.inode in inodes}


def _somaxconn() -> int:
    try:
        return int(procfs.read_file("/proc/sys/net/core/somaxconn"))
    except (OSError, ValueError):  # no such file in some sandboxes
        return 0
