"""Record the logs of this folder anew: real runs of srvinit, about a minute and a half of them.

`record.py [NAME...]` writes NAME.log; without a name, all. story.log is the README's picture: after
a new one, `make docs`. It needs uvicorn (`make setup` installs it).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
PATIENCE_S = 60.0
TALKATIVE = "trap 'exit 0' TERM; while :; do echo at work >&2; sleep 0.5 & wait $!; done"
DEAF = "trap '' TERM; while :; do sleep 1; done"
APP = """
import asyncio
import time
time.sleep(0.4)  # imports, a cache to fill
async def app(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(60 if scope["path"] == "/slow" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""


class Run:
    """One srvinit whose log is kept: line by line, each with the time when it came."""

    def __init__(self, *arguments: str, cwd: str = "/") -> None:
        self.lines: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        command = [sys.executable, "-m", "srvinit", "--log-format=json", *arguments]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = os.environ | {"PATH": path}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environ
        )
        assert self.process.stderr
        self._reader = threading.Thread(target=self._read, args=[self.process.stderr], daemon=True)
        self._reader.start()

    def _read(self, stderr: IO[str]) -> None:
        for line in stderr:
            with self._changed:
                self.lines.append((time.time(), line))
                self._changed.notify_all()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for _, line in self.lines if f'"event": "{name}"' in line]

    def wait(self, name: str, times: int = 1) -> None:
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.events(name)) >= times, PATIENCE_S)
            assert came, f"waited for {name} number {times}: {self.lines}"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> str:
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return "".join(line for _, line in self.lines)


def story() -> str:
    """Four uvicorns: a crash, a recycle, a bad deploy, a shutdown in which one must be killed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        app = Path(folder, "app.py")
        app.write_text(APP)
        port = _free_port()
        run = Run(
            *("-w4", f"-b127.0.0.1:{port}", "--bind-mode=steered", "--worker-require=listen"),
            *("--worker-timeout=30s", "--restart-delay=1500ms", "--shutdown-grace-period=13s"),
            *("--shutdown-delay=2s", "--shutdown-margin=2s", "--recycle-settle=700ms"),
            *("--", "uvicorn", "--fd", "3", "--log-level", "warning", "app:app"),
            cwd=folder,
        )
        run.wait("srvinit.ready")
        time.sleep(2)
        os.kill(run.events("worker.started")[1]["pid"], signal.SIGKILL)
        run.wait("worker.ready", times=5)
        time.sleep(2)
        run.signal(signal.SIGHUP)
        run.wait("recycle.finished")
        time.sleep(2)
        app.write_text("import no_such_module\n")
        run.signal(signal.SIGHUP)
        run.wait("recycle.failed")
        time.sleep(2)
        slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        run.signal(signal.SIGTERM)
        return run.end()


def crashes() -> str:
    """Record a program that ends at once, until srvinit gives up."""
    run = Run("-w1", "--restart-delay=300ms", "--restart-limit=4", "--", "sh", "-c", "exit 3")
    return run.end()


def kill() -> str:
    """Record, with every event there is, three that hear nothing: recycled, then stopped."""
    shell = ["--", "sh", "-c", DEAF]
    times = ["--shutdown-timeout=1s", "--shutdown-margin=500ms", "--recycle-settle=100ms"]
    times.append("--recycle-timeout=400ms")
    run = Run("-w2", "--log-level=debug", *times, *shell)
    run.wait("worker.settled", times=2)
    run.signal(signal.SIGTTIN)
    run.wait("worker.settled", times=3)
    run.signal(signal.SIGHUP)
    run.wait("recycle.finished")
    run.signal(signal.SIGTERM)
    return run.end()


def pods() -> str:
    """Record two pods that talk, as `kubectl logs --prefix --timestamps` shows them."""
    options = ["-w2", "--restart-delay=500ms", "--recycle-settle=200ms", "--shutdown-delay=500ms"]
    names = ["web-7d9f4b-abcde", "web-7d9f4b-fghij"]
    with _many(lambda: Run(*options, "--", "sh", "-c", TALKATIVE), len(names)) as runs:
        for run in runs:
            run.wait("srvinit.ready")
        runs[0].signal(signal.SIGHUP)
        runs[0].wait("recycle.finished")
        os.kill(runs[1].events("worker.started")[0]["pid"], signal.SIGSEGV)
        runs[1].wait("worker.ready", times=3)
        for run in runs:
            run.signal(signal.SIGTERM)
        for run in runs:
            run.end()
        lines = [
            f"[pod/{name}/web] {_kubectl_time(at)} {line}"
            for name, run in zip(names, runs, strict=True)
            for at, line in run.lines
        ]
    return "".join(lines)  # kubectl has one pod after the other, without --follow


@contextlib.contextmanager
def _many(make: Callable[[], Run], count: int) -> Iterator[list[Run]]:
    runs: list[Run] = []
    try:
        for _ in range(count):
            time.sleep(0.3)  # pods never start at once
            runs.append(make())
        yield runs
    finally:
        for run in runs:
            run.process.kill()


def _kubectl_time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat().replace("+00:00", "000Z")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


SCENES = {"story": story, "crashes": crashes, "kill": kill, "pods": pods}

if __name__ == "__main__":
    for scene in sys.argv[1:] or SCENES:
        text = re.sub(r'File "/.*/(?=[^/]+/[^/]+\.py")', 'File ".../', SCENES[scene]())
        text = text.replace(f"{Path(sys.executable).parent}/", "")
        (HERE / f"{scene}.log").write_text(text)
        print(scene, len(text.splitlines()), "lines")
