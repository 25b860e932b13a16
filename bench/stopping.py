"""How soon TERM is acted on: in the middle of a recycle, and by /readyz with many workers.

`termed` (helpers/termed.c) says when its stop signal came. In a recycle the first to get it is what
counts: everything that srvinit does goes through the same loop, so whatever held it up would hold
up that one.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import select
import signal
import time

import programs
from measure import Scale, Subject, take_turns, wait_until
from serving import free_port

WORKERS = 8
MOST_MS = 50.0
MOST_UNREADY_MS = 100.0
MILLION = 1_000_000
NOTHING = "nothing else going on"
#: What is going on when TERM comes, and the worker's role in it.
MOMENTS = {
    NOTHING: "",
    "a recycle whose first new worker is not ready yet": "slow",
    "a recycle whose first old worker is stopping": "lingers",
}
TERM_FIGURES = {
    "first_ms": "until the first worker has its stop signal",
    "all_ms": "until all have it",
    "over_ms": "until srvinit has ended",
}
GATE = ("-b127.0.0.1:0", "--worker-require=listen", "--worker-timeout=60s", "--recycle-settle=0")
DELAYS = {"0s": "who end at once", "1s": "who serve on (shutdown.delay=1s)"}
READYZ_FIGURES = {
    "unready_ms": "until /readyz is not 200 any more",
    "over_ms": "until srvinit has ended",
}
PAUSE_S = 0.002


def measure_term(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Send TERM to one srvinit after the other, at each moment in turns."""
    subject = Subject(
        f"term: from kill(srvinit, TERM) to its workers, {WORKERS} of them", judges=scale.judges
    )
    turns: dict[str, list[dict[str, float]]] = {moment: [] for moment in MOMENTS}
    take_turns(
        {
            moment: lambda role=role, taken=turns[moment]: noted(
                taken, one_stop(helpers["termed"], role)
            )
            for moment, role in MOMENTS.items()
        },
        scale.rounds * 2,
    )
    for figure, what in TERM_FIGURES.items():
        samples = {moment: [one[figure] for one in taken] for moment, taken in turns.items()}
        subject.table(f"ms, {what}", samples, NOTHING)
    late = max(one["first_ms"] for moment in turns if moment != NOTHING for one in turns[moment])
    subject.target(
        f"TERM in a recycle is acted on after {late:.1f} ms at most, {MOST_MS:g} are allowed",
        met=late <= MOST_MS,
    )
    return subject


def measure_readyz(scale: Scale, _helpers: dict[str, str]) -> Subject:
    """Send TERM to pools of growing size, with and without a drain, in turns."""
    subject = Subject("readyz: from TERM to the first 503", judges=scale.judges)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    turns: dict[str, list[dict[str, float]]] = {}
    runs = {}
    for count in scale.pools[:3]:  # the last, of thousands, takes seconds to start each time
        for delay, words in DELAYS.items():
            taken = turns[f"{count:,} workers, {words}"] = []
            runs[f"{count}, {delay}"] = lambda count=count, delay=delay, taken=taken: noted(
                taken, one_unreadiness(count, delay)
            )
    take_turns(runs, max(2, scale.rounds // 2))
    for figure, what in READYZ_FIGURES.items():
        samples = {pool: [one[figure] for one in taken] for pool, taken in turns.items()}
        subject.table(f"ms, {what}", samples, "")
    everything = [one for taken in turns.values() for one in taken]
    late = max(one["unready_ms"] for one in everything)
    subject.target(
        f"/readyz is 503 after {late:.1f} ms at most, {MOST_UNREADY_MS:g} are allowed",
        met=late <= MOST_UNREADY_MS,
    )
    asked, others = (sum(one[name] for one in everything) for name in ("lives", "not_live"))
    subject.target(
        f"/livez is 200 until nobody answers: {asked:g} times, otherwise {others:g} times",
        met=others == 0,
    )
    return subject


def noted(taken: list[dict[str, float]], one: dict[str, float]) -> list[float]:
    """Keep what a turn gave."""
    taken.append(one)
    return []


# --- TERM in the middle of a recycle -------------------------------------------------------------


def one_stop(worker: str, role: str) -> dict[str, float]:
    """Send TERM at one moment; return when the first and the last worker had it, and the end."""
    reader, writer = os.pipe()
    command = [*programs.SRVINIT, f"-w{WORKERS}", *GATE, "--", worker, role]
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        srvinit = stack.enter_context(programs.Running(command, stdout=writer))
        os.close(writer)
        srvinit.wait_said('"srvinit.ready"')
        if role:
            srvinit.forget()
            srvinit.signal(signal.SIGHUP)
        if role == "slow":
            srvinit.wait_said('"worker.started"')
        elif role == "lingers":
            read_ready(reader)  # the one that is retired says so
        sent = time.monotonic_ns()
        srvinit.signal(signal.SIGTERM)
        said = b"".join(iter(lambda: read_ready(reader), b""))
        srvinit.wait_end()
        over = time.monotonic_ns()
    came = [int(line.split()[1]) for line in said.splitlines()]
    instants = {"first_ms": min(came), "all_ms": max(came), "over_ms": over}
    return {name: (at - sent) / MILLION for name, at in instants.items()}


def read_ready(fd: int) -> bytes:
    """Read what workers say, nothing once all have ended. Raises TimeoutError."""
    if not select.select([fd], [], [], programs.PATIENCE_S)[0]:
        raise TimeoutError("no worker said that TERM came")
    return os.read(fd, 65536)


# --- /readyz with many workers -------------------------------------------------------------------


def one_unreadiness(count: int, delay: str) -> dict[str, float]:
    """Send TERM to a pool of `sleep`; return how soon /readyz says so, and what /livez says.

    Asked every 2 ms on one connection: asking without a pause would take a processor for itself.
    Where srvinit has ended before it is asked again, nobody answers any more: that is unready, too.
    """
    port = free_port()
    options = (f"-w{count}", f"--http=127.0.0.1:{port}", f"--shutdown-delay={delay}")
    command = [*programs.SRVINIT, *options, "--", "sleep", "100000"]
    with programs.Running(command) as srvinit, contextlib.ExitStack() as stack:
        srvinit.wait_said('"srvinit.ready"', within=120)
        wait_until(lambda: answer(port, "/readyz") == 200, 30, "/readyz to be 200")
        connection = stack.enter_context(connected(port))
        sent = time.monotonic_ns()
        srvinit.signal(signal.SIGTERM)
        lives = not_live = 0
        while ask(connection, "/readyz") == 200:
            time.sleep(PAUSE_S)
        unready_ms = since_ms(sent)
        while status := ask(connection, "/livez"):
            lives, not_live = lives + (status == 200), not_live + (status != 200)
            time.sleep(PAUSE_S)
        srvinit.wait_end(120)
        over_ms = since_ms(sent)
    took = {"unready_ms": unready_ms, "over_ms": over_ms}
    return {**took, "lives": lives, "not_live": not_live}


def since_ms(sent: int) -> float:
    """Return the milliseconds since then."""
    return (time.monotonic_ns() - sent) / MILLION


def ask(connection: http.client.HTTPConnection, path: str) -> int:
    """Ask on a connection that is kept; return the status, 0 if there is no answer."""
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return 0
    return answer.status


def answer(port: int, path: str) -> int:
    """Ask on a connection of its own; return the status, 0 if there is no answer."""
    with connected(port) as connection:
        return ask(connection, path)


def connected(port: int) -> contextlib.closing[http.client.HTTPConnection]:
    """Make a connection to the endpoint for the time of a `with`."""
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
