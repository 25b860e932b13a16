"""Ends at a bad moment: in the middle of a reload, with a queue of requests, with a deaf worker.

The graceful signal goes to the process that was started, as a container's engine sends it. What
counts: how long until that has ended, with which status, which requests are lost by then, and
which of its processes are left. (In a container the kernel kills those.)
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import programs
from extent import Extent, Grid, attempt, median
from measure import wait_until
from site_of import Site

sys.path.insert(0, str(programs.ROOT / "tests"))
from load import Load

if TYPE_CHECKING:
    from typing import Self

    from reloaders import Rival

RATE = 100.0
WAITING = 30  # requests of 0.2 s each, for two workers
SOON_S = 20.0
AFTER_S = 0.5
UNANSWERED = ("reset", "no_answer", "cut", "timeout")  # refused is what a closed door does
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
        return {**the_end(site, within_s), "lost": unanswered(load)}


def with_a_queue(rival: Rival, within_s: float) -> dict[str, Any]:
    """Ask it to stop when the first of many slow requests has been answered."""
    with Site(rival) as site, Waiting(site.port, "/slow", WAITING) as clients:
        clients.first.wait(SOON_S)
        ended = the_end(site, within_s)
        return {**ended, "lost": WAITING - clients.finish()}


def with_a_deaf_worker(rival: Rival, within_s: float) -> dict[str, Any]:
    """Ask it to stop when one worker has blocked the signal and sleeps for ever."""
    with Site(rival) as site, Waiting(site.port, "/deaf", 1):
        wait_until((site.folder / "deaf").exists, SOON_S, f"{rival.key} to be deaf")
        with Load(site.port, new=4, kept=4, rate=RATE, timeout=2.0) as load:
            load.wait_requests(int(RATE / 2))
            before = unanswered_so_far(load.figures())
            ended = the_end(site, within_s)
            return {**ended, "lost": unanswered(load) - before}


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
        self.answered = 0
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

    def finish(self) -> int:
        """Let them take what has been sent to them; return how many were answered."""
        self._thread.join(AFTER_S)
        return self.answered

    def _wait(self) -> None:
        while self._selector.get_map() and not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                client: socket.socket = key.fileobj  # type: ignore[assignment]
                with contextlib.suppress(OSError):
                    self.answered += client.recv(65536).startswith(b"HTTP/1.1 200")
                self._selector.unregister(client)
                client.close()
                self.first.set()


def unanswered(load: Load) -> int:
    """Return how many requests were sent, and not answered, when all is over."""
    return unanswered_so_far(load.stop())


def unanswered_so_far(figures: dict[str, Any]) -> int:
    """Return how many requests were sent and not answered."""
    return sum(int(figures[kind][how]) for kind in ("new", "kept") for how in UNANSWERED)


def report(
    rivals: list[Rival], results: dict[str, dict[str, list[dict[str, Any]]]], extent: Extent
) -> Grid:
    """Return the table of these results."""
    title = f"TERM at a bad moment: seconds to the end, requests lost ({extent.ends} of each)"
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
    lost = "/".join(str(case["lost"]) for case in cases)
    over = [case for case in cases if case["took_s"] is not None]
    if not over:
        return f"not over after {within_s:g} s; lost {lost}"
    words = [f"{median((case['took_s'] for case in over), 2)} s", f"lost {lost}"]
    words.append("status " + "/".join(sorted({str(case["status"]) for case in over})))
    left = max(case["survivors"] for case in over)
    words += [f"{left} processes left"] if left else []
    unfinished = len(cases) - len(over)
    words += [f"{unfinished} not over after {within_s:g} s"] if unfinished else []
    return ", ".join(words)
