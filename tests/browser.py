"""A headless Chromium, spoken to over a pipe: for tests of pages.

Its DevTools protocol comes over descriptors 3 and 4 (--remote-debugging-pipe): JSON messages, each
ended by a zero byte. So there is no port, no driver and no library between.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

PATIENCE_S = 60.0  # a first start on a busy machine takes ten
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--remote-debugging-pipe", "about:blank"),
)
# Puts two pipes to 3 and 4, whatever their numbers are, and becomes the browser.
LAUNCH = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for fd, number in zip(ours, (3, 4)):
    os.dup2(fd, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One Chromium with one page; use it in a `with`. Skips the test where there is none."""

    def __init__(self) -> None:
        program = harness.program("chromium")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        words = [program, *FLAGS, f"--user-data-dir={self._profile.name}"]
        launch = [sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), *words]
        self._process = subprocess.Popen(
            launch,
            pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        made = self.ask("Target.createTarget", url="about:blank")
        attached = self.ask("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        number = self._number
        answer = self._wait(lambda message: message.get("id") == number, method)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path) -> None:
        """Show a file, and wait until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        loaded = "Page.loadEventFired"
        if not any(event["method"] == loaded for event in self.events):
            self._wait(lambda message: message.get("method") == loaded, loaded)

    def run(self, script: str) -> Any:
        """Return the JSON value of an expression in the page."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def look(self, *, dark: bool = False, paper: bool = False) -> None:
        """Show the page to who prefers dark, or as it is printed."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        media = "print" if paper else "screen"
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def press(self, key: str) -> None:
        """Press a key that writes nothing: Tab, Escape, ArrowRight."""
        code = {"Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path, width: int, height: int) -> None:
        """Write what is seen as a PNG."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def _wait(self, is_it: Any, what: str) -> dict[str, Any]:
        by = time.monotonic() + PATIENCE_S
        while True:
            while b"\0" in self._rest:
                whole, _, self._rest = self._rest.partition(b"\0")
                message: dict[str, Any] = json.loads(whole)
                if "method" in message:
                    self.events.append(message)
                if is_it(message):
                    return message
            left = by - time.monotonic()
            ready, _, _ = select.select([self._from], [], [], max(0.0, left))
            block = os.read(self._from, 1 << 20) if ready else b""
            status = self._process.poll()
            assert block, f"waited {PATIENCE_S:g} s for {what} of Chromium (status {status})"
            self._rest += block
