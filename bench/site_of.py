"""One rival at work: a folder with its program, its processes, its deployments, its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import programs
import reloaders
from measure import wait_until
from serving import free_port

if TYPE_CHECKING:
    from typing import Self

    from reloaders import Rival

SITES = programs.HERE / "sites"
START_S = 60.0
LOOK_S = 0.02
SAMPLE_S = 0.05


class Site:
    """A rival that runs, in a session of its own, by which its processes are known.

    Everything that is left in that session at the end of a `with` is killed.
    """

    def __init__(self, rival: Rival) -> None:
        self.rival = rival
        self.port = free_port()
        self._temporary = tempfile.TemporaryDirectory(prefix="srvinit-rival-")
        self.folder = Path(self._temporary.name)
        own = 1 if rival.is_ours else reloaders.WORKERS
        words = {
            "8080": self.port,
            "FOLDER": self.folder,
            "BIN": reloaders.BIN,
            "NGINX_WORKERS": own,
        }
        for source in SITES.iterdir():
            if source.is_file():
                text = source.read_text()
                for word, value in words.items():
                    text = text.replace(word, str(value))
                (self.folder / source.name).write_text(text)
        (self.folder / "lives").mkdir()
        self.deploy("good")
        self._log = (self.folder / "log").open("wb")
        self._environ = os.environ | {
            "PM2_HOME": str(self.folder / "pm2"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RACK_ENV": "production",
        }
        self._asked: list[subprocess.Popen[bytes]] = []
        self.process = subprocess.Popen(
            reloaders.filled(rival.command, self.port, str(self.folder)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=self.folder,
            env=self._environ,
            start_new_session=True,
        )
        self._sessions = {self.process.pid}

    def __enter__(self) -> Self:
        try:
            wait_until(self._serves, START_S, f"{self.rival.key} to serve")
        except BaseException as error:
            error.add_note(self.said())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        while left := self.processes():  # again: who dies may have had a child by then
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(LOOK_S)
        for asked in (self.process, *self._asked):
            asked.kill()
            asked.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._temporary.cleanup()

    # -- what is asked of it ----------------------------------------------------------------------

    def deploy(self, release: str) -> None:
        """Put a release there: good, exits, hangs or dies. It is for `reload` to start it."""
        (self.folder / "release").write_text(release)
        if release != "good":
            (self.folder / "release.conf").write_text("this release does not start")

    def reload(self) -> None:
        """Ask for a reload, by its signal or by its command; do not wait for either."""
        first = self.rival.reload[0]
        if len(self.rival.reload) == 1:
            os.kill(self.main_pid(), getattr(signal, f"SIG{first}"))
            return
        command = reloaders.filled(self.rival.reload, self.port, str(self.folder))
        asked = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self._environ
        )
        self._asked.append(asked)

    def stop(self) -> None:
        """Send the graceful signal to the process that was started: a container's PID 1."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, getattr(signal, f"SIG{self.rival.stop}"))

    # -- what is to be seen of it -----------------------------------------------------------------

    def said(self) -> str:
        """Return the end of what it has said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def main_pid(self) -> int:
        """Return who takes the signals: unicorn changes it with each reload."""
        file = self.folder / "unicorn.pid"
        return int(file.read_text()) if file.exists() else self.process.pid

    def processes(self) -> set[int]:
        """Return the pids of all of its processes that live."""
        living = _living()
        found: set[int] = set()
        # circus puts its workers into sessions of their own: known while it is their parent
        while True:
            more = {
                pid
                for pid, (parent, session) in living.items()
                if session in self._sessions or parent in found
            }
            self._sessions |= {living[pid][1] for pid in more}
            if more == found:
                return found
            found = more

    def workers(self) -> set[int]:
        """Return the pids of those that have loaded the program (nginx's: that are workers)."""
        loaded = {int(name) for name in os.listdir(self.folder / "lives")}  # noqa: PTH208
        return {pid for pid in self.processes() if pid in loaded or _is_nginx_worker(pid)}

    def replaced(self, old: set[int]) -> bool:
        """Tell whether all of the old workers have gone, and enough new ones run."""
        now = self.workers()
        return not now & old and len(now) >= reloaders.WORKERS

    def memory_mb(self) -> float:
        """Return the memory of all its processes, each shared page counted once (PSS)."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1000

    def _serves(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2).read()
            return len(self.workers()) >= reloaders.WORKERS and self._says_so()
        return False

    def _says_so(self) -> bool:
        """Tell whether srvinit takes them for ready: one that is not has a second to stop."""
        return not self.rival.is_ours or b'"srvinit.ready"' in (self.folder / "log").read_bytes()


class Peak:
    """The most memory that a site had during a `with`, in MB."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.peak_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.peak_mb = max(self.peak_mb, self.site.memory_mb())


def _living() -> dict[int, tuple[int, int]]:
    """Return parent and session of each process that is no zombie."""
    living = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    living[int(entry.name)] = (int(fields[1]), int(fields[3]))
    return living


def _is_nginx_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"nginx: worker process")
    return False
