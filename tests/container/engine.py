"""A Docker daemon of the tests' own, and containers in it.

The daemon is started by hand, with its data in a folder of its own and a socket there, and ended by
its pid: it is nobody's service, and what else there is of Docker on the machine is left alone.
Where pytest-xdist runs tests in several processes they have one in common: two would take the same
addresses for their containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import proc
from logreader import LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

# Debian's client knows BuildKit by itself; newer ones need a plugin for it.
CLIENT_PATH = "/usr/bin"


class Docker:
    """A daemon, asked through the client; `folder` is the daemon's, and has its socket and pid."""

    def __init__(self, folder: Path) -> None:
        self.client = harness.program("docker", CLIENT_PATH)
        if Path(CLIENT_PATH, "docker").exists():
            self.client = f"{CLIENT_PATH}/docker"
        self._folder = folder
        self.environ = harness.clean_environ() | {"DOCKER_HOST": f"unix://{folder}/socket"}

    def begin(self) -> None:
        """Start the daemon."""
        names = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        flags = [f"--{flag}={self._folder}/{name}" for flag, name in names.items()]
        flags.append(f"--host={self.environ['DOCKER_HOST']}")
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self._folder / "log").open("wb") as log:
            subprocess.run(  # nobody's child: who ends it need not be who began it
                ["setsid", "--fork", harness.program("dockerd"), *flags],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ | {"PATH": path},
            )
        try:
            proc.wait_until(self._answers, 60, "dockerd to answer")
        except AssertionError as late:
            late.add_note((self._folder / "log").read_text()[-3000:])
            self.end()
            raise

    def end(self) -> None:
        """End the daemon and all its containers, and remove what it had."""
        for container in self.lines("ps", "-aq") if self._answers() else []:
            self.run("rm", "-f", container)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int((self._folder / "pid").read_text())
            os.kill(pid, signal.SIGTERM)
            try:
                proc.wait_until(lambda: proc.state(pid) in "ZX", 30, "dockerd to end")
            except AssertionError:
                os.kill(pid, signal.SIGKILL)
        for mount in self._mounts():  # the daemon leaves its namespace files and overlays behind
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _mounts(self) -> list[str]:
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        return sorted((one for one in mounted if one.startswith(str(self._folder))), reverse=True)

    def _answers(self) -> bool:
        return self.start("info", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait() == 0

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the client and do not wait for it."""
        environ = self.environ | options.pop("environ", {})
        return subprocess.Popen([self.client, *command], env=environ, **options)

    def run(
        self, *command: str, fails: bool = False, stdin: Any = subprocess.DEVNULL, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the client to its end; a failure fails the test, with what it said."""
        done = subprocess.run(
            [self.client, *command],
            check=False,
            stdin=stdin,
            capture_output=True,
            text=True,
            env=self.environ | environ,
            timeout=900,
        )
        if not fails:
            said = f"docker {' '.join(command)}\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, said
        return done

    def lines(self, *command: str) -> list[str]:
        """Run the client and return the lines it says on stdout."""
        return self.run(*command).stdout.splitlines()

    def has(self, tag: str) -> bool:
        """Tell whether there is an image of that name."""
        return self.run("image", "inspect", tag, fails=True).returncode == 0

    def import_folder(self, folder: str | os.PathLike[str], tag: str, *changes: str) -> None:
        """Make an image of a folder."""
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as packed:
            self.import_tar(packed.stdout, tag, *changes)

    def import_tar(self, packed: Any, tag: str, *changes: str) -> None:
        """Make an image of a tar file."""
        flags = [flag for change in changes for flag in ("--change", change)]
        self.run("import", *flags, "-", tag, stdin=packed)

    def build(self, dockerfile: str, tag: str, context: Path | None = None) -> None:
        """Build an image of a few lines."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "Dockerfile").write_text(dockerfile)
            where = ["-f", f"{folder}/Dockerfile", str(context or folder)]
            self.run("build", "--quiet", "--tag", tag, *where, DOCKER_BUILDKIT="0")


@contextlib.contextmanager
def shared(common: Path) -> Iterator[Docker]:
    """Have the daemon of all who name the same folder: the first begins it, the last ends it."""
    lock, users = common / "docker", common / "docker-users"
    with alone(lock):
        if not users.exists():
            # Not in /tmp, which may be a tmpfs: overlays need a disk
            made = Path(tempfile.mkdtemp(prefix="srvinit-docker-", dir="/var/tmp"))
            Docker(made).begin()
            users.write_text(f"0 {made}")
        count, _, folder = users.read_text().partition(" ")
        users.write_text(f"{int(count) + 1} {folder}")
    docker = Docker(Path(folder))
    try:
        yield docker
    finally:
        with alone(lock):
            count, _, _ = users.read_text().partition(" ")
            users.write_text(f"{int(count) - 1} {folder}")
            if count == "1":
                users.unlink()
                docker.end()


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Keep the others out for the time of a `with`."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


class Container:
    """One container that runs in the background; removed at the end of a `with`."""

    def __init__(self, docker: Docker, *arguments: str) -> None:
        self.docker = docker
        self._stack = contextlib.ExitStack()
        [self.name] = docker.lines("run", "--detach", *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.docker.run("rm", "--force", "--volumes", self.name, fails=True)
        self._stack.close()

    @property
    def lines(self) -> list[str]:
        """All that came out on stderr."""
        return self.docker.run("logs", self.name).stderr.splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of srvinit's log."""
        found = []
        for line in self.lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    @functools.cached_property
    def _log(self) -> LogReader:
        """Follow the log: to ask for all of it again and again would take a whole CPU."""
        log = LogReader()
        client = self.docker.start(
            *("logs", "--follow", self.name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._stack.callback(lambda: (client.kill(), client.wait(), log.stop()))
        log.start(client)
        return log

    def _wait(self, hits: Callable[[], list[Any]], within: float, nth: int, what: str) -> Any:
        if not self._log.wait_for(lambda: len(hits()) >= nth, within):
            late = AssertionError(f"waited {within:g} s for {what} (number {nth})")
            late.add_note("\n".join(self.lines))
            raise late
        return hits()[nth - 1]

    def wait_event(
        self, name: str, within: float = 20.0, *, nth: int = 1, **fields: Any
    ) -> dict[str, Any]:
        """Return the `nth` event of that name with those fields."""
        wanted = {"event": name, **fields}

        def hits() -> list[dict[str, Any]]:
            return [one for one in self._log.snapshot()[1] if wanted.items() <= one.items()]

        event: dict[str, Any] = self._wait(hits, within, nth, f"event {name} {fields or ''}")
        return event

    def wait_line(self, text: str, within: float = 20.0, *, nth: int = 1) -> str:
        """Return the `nth` line of stderr that contains `text`."""

        def hits() -> list[str]:
            return [line for line in self._log.snapshot()[0] if text in line]

        line: str = self._wait(hits, within, nth, repr(text))
        return line

    def inspect(self, what: str) -> Any:
        """Return a part of what `docker inspect` knows: ".State.ExitCode"."""
        [said] = self.docker.lines("inspect", "--format", f"{{{{json {what}}}}}", self.name)
        return json.loads(said)

    @property
    def pid(self) -> int:
        """The pid, seen from outside, of its PID 1."""
        return int(self.inspect(".State.Pid"))

    def processes(self) -> dict[int, str]:
        """Return the state of each of its processes, by pid seen from outside."""
        space = proc.link(f"/proc/{self.pid}/ns/pid")
        inside = [one for one in proc.all_pids() if proc.link(f"/proc/{one}/ns/pid") == space]
        return {one: proc.state(one) for one in inside}

    def signal(self, name: str) -> None:
        """Send its PID 1 a signal."""
        self.docker.run("kill", "--signal", name, self.name)

    def stop(self, timeout_s: int = 10) -> int:
        """Stop it as `docker stop` does, and return its exit status."""
        self.docker.run("stop", "--time", str(timeout_s), self.name)
        return int(self.inspect(".State.ExitCode"))

    def exit_status(self) -> int:
        """Wait for its end and return its exit status."""
        return int(self.docker.lines("wait", self.name)[0])

    def changes(self) -> list[str]:
        """Return what it has changed in its image."""
        return self.docker.lines("diff", self.name)


def cache_folder() -> Path:
    """Return where base images are kept between runs: to make one takes a minute or two."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(home, "srvinit-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
