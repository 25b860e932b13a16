"""Ends at a bad moment: in the middle of a reload, with a queue of requests, with a deaf worker.

The graceful signal goes to the process that was started, as a container's engine sends it. What
counts: how long until that has ended, with which status, which requests are lost by then and
how, and which of its processes are left. (In a container the kernel kills those.)
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import programs
from extent import Extent, Grid, attempt, median
from measure import wait_until
from reloading import LOST, lost_of
from site_of import Site

sys.path.insert(0, str(programs.ROOT / "tests"))
from load import Load

if TYPE_CHECKING:
    from typing import Self

    from reloaders import Rival

    Lost = dict[str, dict[str, int]]  # by the kind of connection, by the way

RATE = 100.0
WAITING = 30  # requests of 0.2 s each, for two workers
SOON_S = 20.0
AFTER_S = 0.5
REFUSED = "refused"  # what a closed door does: no request was sent
TITLES = {
    "reload": "TERM in the middle of a reload, under load",
    "queue": f"TERM with {WAITING} requests of 0.2 s each on their way",
    "deaf": "TERM with a worker that blocks it and hangs, under load",
}


def measure(rivals: list[Rival], extent: Extent) -> Grid:
    """Do all three to each rival, some of them side by side: the waits are long."""
    cases = [
        (rival, name, case)
        for _ in range(extent.ends)
        for name, case in CASES.items()
        for rival in rivals
        if rival.has_slow or name == "reload"
    ]
    with ThreadPoolExecutor(2 * extent.at_once) as pool:
        answers = list(pool.map(lambda case: attempt(case[2], case[0], extent.within_s), cases))
    results: dict[str, dict[str, list[dict[str, Any]]]] = {rival.key: {} for rival in rivals}
    for (rival, name, _), answer in zip(cases, answers, strict=True):
        results[rival.key].setdefault(name, []).extend([answer] if answer else [])
    return report(rivals, results, extent)


def in_a_reload(rival: Rival, within_s: float) -> dict[str, Any]:
    """Ask it to stop once the first new worker has come up, or the first old one has gone."""
    with Site(rival) as site, Load(site.port, new=4, kept=4, rate=RATE, timeout=2.0) as load:
        load.wait_requests(int(RATE / 2))
        old = site.workers()
        site.reload()
        wait_until(lambda: site.workers() != old, SOON_S, f"{rival.key} to begin")
        return {**the_end(site, within_s), "lost": lost_of(load.stop())}


def with_a_queue(rival: Rival, within_s: float) -> dict[str, Any]:
    """Ask it to stop when the first of many slow requests has been answered."""
    with Site(rival) as site, Waiting(site.port, "/slow", WAITING) as clients:
        clients.first.wait(SOON_S)
        ended = the_end(site, within_s)
        return {**ended, "lost": {"new": clients.finish(), "kept": {}}}


def with_a_deaf_worker(rival: Rival, within_s: float) -> dict[str, Any]:
    """Ask it to stop when one worker has blocked the signal and sleeps for ever."""
    with Site(rival) as site, Waiting(site.port, "/deaf", 1):
        wait_until((site.folder / "deaf").exists, SOON_S, f"{rival.key} to be deaf")
        with Load(site.port, new=4, kept=4, rate=RATE, timeout=2.0) as load:
            load.wait_requests(int(RATE / 2))
            before = lost_of(load.figures())
            ended = the_end(site, within_s)
            return {**ended, "lost": since(before, lost_of(load.stop()))}


CASES = {"reload": in_a_reload, "queue": with_a_queue, "deaf": with_a_deaf_worker}


def the_end(site: Site, within_s: float) -> dict[str, Any]:
    """Ask a site to stop; return how it did."""
    began = time.monotonic()
    site.stop()
    try:
        status = site.process.wait(within_s)
    except subprocess.TimeoutExpired:
        return {"took_s": None, "status": None, "survivors": None}
    took_s = round(time.monotonic() - began, 2)
    return {"took_s": took_s, "status": status, "survivors": len(site.processes())}


class Waiting:
    """So many clients with a request each, who go when they have their answer, as browsers do.

    (gunicorn waits two seconds for those who stay.) Whoever still waits at the end is cut off.
    """

    def __init__(self, port: int, path: str, number: int) -> None:
        self._lost: Counter[str] = Counter()
        self.first = threading.Event()
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        for _ in range(number):
            client = socket.create_connection(("127.0.0.1", port), SOON_S)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            self._selector.register(client, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._wait, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.finish()
        self._over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def finish(self) -> dict[str, int]:
        """Let them take what has been sent to them; return how many lost their request, and how."""
        self._thread.join(AFTER_S)
        waiting = Counter(timeout=len(self._selector.get_map()))
        return dict(+(self._lost + waiting))

    def _wait(self) -> None:
        while self._selector.get_map() and not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                client: socket.socket = key.fileobj  # type: ignore[assignment]
                self._lost.update(what_came(client))
                self._selector.unregister(client)
                client.close()
                self.first.set()


def what_came(client: socket.socket) -> list[str]:
    """Return how a client's request was lost, which has an answer or the end of its connection."""
    try:
        answer = client.recv(65536)
    except OSError:
        return ["reset"]
    if not answer:
        return ["no_answer"]
    return ["status_5xx"] if answer[9:10] == b"5" else []


def since(before: Lost, after: Lost) -> Lost:
    """Return what was lost between two looks."""
    return {kind: dict(Counter(after[kind]) - Counter(before[kind])) for kind in after}


def report(
    rivals: list[Rival], results: dict[str, dict[str, list[dict[str, Any]]]], extent: Extent
) -> Grid:
    """Return the table of these results."""
    title = f"TERM at a bad moment: seconds to the end, what was lost ({extent.ends} of each)"
    grid = Grid(title, name="endings", raw=results)
    grid.head = ("server", "managed by", "signal", *TITLES.values())
    for rival in rivals:
        cells = (verdict(results[rival.key].get(name, []), extent.within_s) for name in TITLES)
        grid.rows.append((rival.family, rival.key, rival.stop, *cells))
    return grid


def verdict(cases: list[dict[str, Any]], within_s: float) -> str:
    """Say in a few words how it ended."""
    if not cases:
        return "-"
    lost = losses(cases)
    over = [case for case in cases if case["took_s"] is not None]
    if not over:
        return f"not over after {within_s:g} s; {lost}"
    words = [f"{median((case['took_s'] for case in over), 2)} s"]
    words.append("status " + "/".join(sorted({str(case["status"]) for case in over})))
    left = max(case["survivors"] for case in over)
    words += [f"{left} processes left"] if left else []
    unfinished = len(cases) - len(over)
    words += [f"{unfinished} not over after {within_s:g} s"] if unfinished else []
    return f"{', '.join(words)}; {lost}"


def losses(cases: list[dict[str, Any]]) -> str:
    """Say how many requests were lost, each time; and in which ways, of all times together.

    Who was refused has sent none: that is told apart.
    """
    ways: dict[str, Counter[str]] = {"new": Counter(), "kept": Counter()}
    numbers = []
    for case in cases:
        if isinstance(case["lost"], int):  # a run before 2026-11-26, which kept the sum alone
            numbers.append(str(case["lost"]))
            continue
        for kind, lost in case["lost"].items():
            ways[kind].update(lost)
        sent = sum(sum(lost.values()) - lost.get(REFUSED, 0) for lost in case["lost"].values())
        numbers.append(str(sent))
    told = [
        f"{count} {kind} {LOST[way]}"
        for kind, counts in ways.items()
        for way, count in counts.items()
        if way != REFUSED
    ]
    words = f"lost {'/'.join(numbers)}" + (f" ({', '.join(told)})" if told else "")
    refused = sum(counts[REFUSED] for counts in ways.values())
    return f"{words}; {refused} refused" if refused else words
