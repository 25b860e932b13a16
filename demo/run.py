"""`make demo`: four uvicorn workers on one port, recycled three times under load, then stopped.

Prints srvinit's log as it comes (its messages; with --json its lines as they are) and ends within a
minute, with one line of figures. Exit status: 0, or 1 if more new connections were lost than
uvicorn's own accept race explains, or if srvinit did not end with 0.
"""

# ruff: noqa: INP001, S603, T201  a program, no package; it runs srvinit and reports

from __future__ import annotations

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from load import Load  # noqa: E402  tests/ is no package

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 4
RECYCLES = 3
RATE = 500  # requests a second, half of them on new connections, half on kept ones
STEADY_S = 3.0
PATIENCE_S = 60.0


def main() -> int:
    """Run the demo."""
    port = free_port()
    options = [
        f"--worker-count={WORKERS}",
        "--worker-require=listen",
        "--worker-timeout=30s",
        f"--bind=127.0.0.1:{port}",
        "--log-format=json",
    ]
    server = ["uvicorn", "--fd", "3", "--log-level", "warning", "app:app"]
    print("$ srvinit", *options, "--", *server, flush=True)
    command = [sys.executable, "-m", "srvinit", *options, "--", sys.executable, "-m", *server]
    with subprocess.Popen(command, cwd=HERE, stderr=subprocess.PIPE, text=True) as srvinit:
        try:
            events = Events(srvinit)
            figures = play(srvinit, events, port)
            status = srvinit.wait(PATIENCE_S)
        finally:
            srvinit.kill()
    return judge(figures, status)


def play(srvinit: subprocess.Popen[str], events: Events, port: int) -> dict[str, Any]:
    """Load, three recycles, stop; return the figures."""
    events.wait("worker.ready", times=WORKERS)
    with Load(port, new=8, kept=8, rate=RATE) as load:
        load.wait_requests(int(RATE * STEADY_S))
        for _ in range(RECYCLES):
            load.phase("recycle")
            print(f"$ kill -HUP {srvinit.pid}", flush=True)
            srvinit.send_signal(signal.SIGHUP)
            events.wait("recycle.finished")
            load.phase("steady")
            load.wait_requests(int(RATE * STEADY_S))
        figures = load.stop()
    print(f"$ kill -TERM {srvinit.pid}", flush=True)
    srvinit.send_signal(signal.SIGTERM)
    return figures


def judge(figures: dict[str, Any], status: int) -> int:
    """Print the figures as one line, and before it what they mean."""
    new, kept, phases = figures["new"], figures["kept"], figures["phases"]
    stops = WORKERS * RECYCLES
    print()
    lost = new["lost"] + kept["lost"]
    if lost:
        print(
            f"Lost in {stops} stops of a worker: {lost}. uvicorn closes unanswered what it has"
            " accepted and not yet read when SIGTERM comes; nothing outside a server can prevent"
            " that on one shared socket. gunicorn, nginx, unicorn and Go lose no new connection."
        )
    refused = new["refused"] + kept["refused"]
    failed = new["status_5xx"] + kept["status_5xx"]
    is_good = new["lost"] <= 2 * stops and not refused and not failed and status == 0
    if not is_good:
        print(f"NOT GOOD: refused {refused}, 5xx {failed}, exit status {status}, {new}")
    print(
        f"requests {figures['requests']}, lost {new['lost']} new + {kept['lost']} kept, p99"
        f" {phases['steady']['p99_ms']} ms steady, {phases['recycle']['p99_ms']} ms in recycles"
    )
    return 0 if is_good else 1


class Events:
    """The log: printed as it comes, and waited for."""

    def __init__(self, srvinit: subprocess.Popen[str]) -> None:
        self._names: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(srvinit.stderr,), daemon=True).start()

    def wait(self, name: str, times: int = 1) -> None:
        """Wait until the event has come so many times more."""
        deadline = time.monotonic() + PATIENCE_S
        while times:
            left = max(0.0, deadline - time.monotonic())
            try:
                found = self._names.get(timeout=left)
            except queue.Empty:
                raise SystemExit(f"waited {PATIENCE_S:g} s for {name}") from None
            if found is None:
                raise SystemExit(f"srvinit ended before {name}")
            times -= found == name

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            event = json.loads(line) if line.startswith("{") else None
            if event is None or "--json" in sys.argv:
                print(line, end="", flush=True)
            else:
                print(event["timestamp"][11:23], event["level"], event["message"], flush=True)
            if event is not None:
                self._names.put(event["event"])
        self._names.put(None)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
