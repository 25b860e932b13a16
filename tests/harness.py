"""Runs srvinit as its users do, and reads its log: for tests/process, tests/interop and the demo.

`Srvinit` is one running srvinit: argv, environment, signals, log lines and an exit status, nothing
of its inside. It is started as an ordinary process or as PID 1 of a PID namespace of its own; pids
in this file are always those seen from outside, and pids in log lines are those srvinit sees.

A test asks for the fixture `srvinit` (tests/conftest.py) and calls it instead of the class: what
it starts is killed at the end of the test, with everything that descends from it.

    def test_hup_replaces_every_worker(srvinit):
        pool = srvinit("-w", "2", "-b", f"127.0.0.1:{port}", "--", sys.executable, "web.py")
        pool.wait_event("worker.ready", nth=2)
        pool.signal("HUP")
        pool.wait_event("recycle.finished", within=20, generation=2)
        pool.signal("TERM")
        assert pool.exit_status() == 0

Workers' own stderr is the same pipe as the log. `silenced(command)` sends it to a file instead,
where a test wants to assert that every line of the log is srvinit's: `pool.strays == []`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from typing import IO, TYPE_CHECKING, Any

import proc
from logreader import LogReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import NoReturn, Self

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

#: What is tested: the source by default; a frozen build if TESTED_PROGRAM names one.
PROGRAM = shlex.split(os.environ.get("TESTED_PROGRAM", "")) or [sys.executable, "-m", "srvinit"]

#: Never inherited from whoever runs the tests: srvinit would take them for its own.
_FOREIGN = ("SRVINIT_", "LISTEN_", "SERVER_STARTER_", "EINHORN_", "NOTIFY_SOCKET")
_MARK = "HARNESS_RUN"


class Srvinit:
    """One running srvinit; close it, or use it in a `with`.

    `arguments` is all that follows "srvinit" on the command line, the "--" included. `environ` is
    added to the environment of the tests. `stdin` is /dev/null, `stdout` a file that `output`
    reads, `stderr` a pipe that is read all the time; who hands in an own `stderr` has no events.
    """

    def __init__(  # noqa: PLR0913  each is a thing a user can choose
        self,
        *arguments: str,
        pid1: bool = False,
        environ: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] = subprocess.PIPE,
        run: Sequence[str] = PROGRAM,
        prefix: Sequence[str] = (),
    ) -> None:
        self.command = [*_namespace(pid1), *prefix, *run, *arguments]
        self._mark = f"{_MARK}={uuid.uuid4()}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._read = LogReader()
        self._process = subprocess.Popen(
            self.command,
            env=_environment(self._mark, environ or {}),
            cwd=cwd,
            stdin=stdin,
            stdout=self._output if stdout is None else stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self._read.start(self._process)
        self._is_pid1 = pid1
        self.pid = self._find_init() if pid1 else self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- the log ----------------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """Every line of stderr so far, as written."""
        return self._read.snapshot()[0]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines that are srvinit's own, parsed, in their order."""
        return self._read.snapshot()[1]

    @property
    def strays(self) -> list[str]:
        """The lines that are none of srvinit's: a worker's words, or a traceback."""
        return self._read.snapshot()[2]

    @property
    def output(self) -> bytes:
        """What srvinit and its workers have written to stdout so far."""
        return os.pread(self._output.fileno(), os.fstat(self._output.fileno()).st_size, 0)

    def found(self, name: str, *, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of that name with those fields, from the `since`th of all on."""
        return [event for event in self.events[since:] if _matches(event, name, fields)]

    def wait_event(
        self, name: str, within: float = 10.0, *, nth: int = 1, since: int = 0, **fields: Any
    ) -> dict[str, Any]:
        """Return the `nth` event `name` with those fields, waiting `within` seconds for it.

        `since` leaves out that many events: `since=len(pool.events)`, noted before a signal is
        sent, waits for something new. Fails with the whole log if the time is up or srvinit ended.
        """
        hits: list[dict[str, Any]] = []

        def is_there() -> bool:
            hits[:] = self.found(name, since=since, **fields)
            return len(hits) >= nth

        if not self._read.wait_for(is_there, within):
            wanted = " ".join([name, *(f"{key}={value!r}" for key, value in fields.items())])
            self._fail(f"event {wanted} (number {nth}, {len(hits)} came)", within)
        return hits[nth - 1]

    def wait_line(self, text: str, within: float = 10.0) -> str:
        """Return the first line of stderr that contains `text`, a worker's or srvinit's."""
        hits: list[str] = []

        def is_there() -> bool:
            hits[:] = [line for line in self.lines if text in line]
            return bool(hits)

        if not self._read.wait_for(is_there, within):
            self._fail(f"a line with {text!r}", within)
        return hits[0]

    def wait_output(self, text: str, within: float = 10.0, *, nth: int = 1) -> str:
        """Return the `nth` line of stdout that contains `text`: a worker's words."""

        def find() -> list[str]:
            hits = [line for line in self.output.decode().split("\n")[:-1] if text in line]
            return hits[nth - 1 : nth]

        try:
            return proc.wait_until(find, within, f"line {nth} of stdout with {text!r}")[0]
        except AssertionError as late:
            late.add_note("\n".join([self.output.decode(), *self.lines]))
            raise

    def _fail(self, wanted: str, within: float) -> None:
        status = self._process.poll()
        state = "is still running" if status is None else f"ended with {status}"
        raise AssertionError(
            f"waited {within:g} s for {wanted}; {shlex.join(self.command)} {state}\n"
            + "\n".join(self.lines)
        )

    # -- signals and the end ----------------------------------------------------------------------

    def signal(self, name: str | int) -> None:
        """Send srvinit itself (inside, where it is PID 1) a signal: "HUP", "RTMIN+3" or 1."""
        number = name if isinstance(name, int) else _number(name)
        os.kill(self.pid, number)

    @property
    def is_running(self) -> bool:
        """True until srvinit has ended."""
        return self._process.poll() is None

    def exit_status(self, within: float = 10.0) -> int:
        """Return the exit status (negative: killed by that signal), waiting for the end."""
        if not self._read.wait_for_end(within):
            self._fail("srvinit's end", within)
        return self._process.wait()

    def close(self) -> None:
        """Kill srvinit and all that descends from it, by pid; harmless if it has ended."""
        left = self.everything()
        if self._process.poll() is None:
            _kill(self.pid)
            _kill(self._process.pid)
        deadline = time.monotonic() + 10
        while left and time.monotonic() < deadline:
            for pid in left:
                _kill(pid)
            left = self.everything()
            time.sleep(0.005)  # they are dying: SIGKILL takes a moment
        self._process.wait()
        self._read.stop()
        self._output.close()
        if left:
            raise AssertionError(f"could not be killed: {left}")

    # -- processes --------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """Return the pids of srvinit's children: its workers, and orphans that it adopted."""
        return proc.children(self.pid)

    def everything(self) -> list[int]:
        """Return the pids of all living processes that descend from srvinit, adopted away or not.

        Two traces lead to them: the session they were born in, and a variable in the environment
        they started with. One that calls setsid() loses the first, one that writes its title over
        its environment (nginx) the second. srvinit itself is not among them.
        """
        mark = self._mark.encode()
        launcher = self._process.pid
        return [
            pid
            for pid in proc.all_pids()
            if pid not in {self.pid, launcher}
            and proc.state(pid) not in "ZX"
            and (
                proc.session(pid) == launcher
                or mark in proc.read(f"/proc/{pid}/environ").split(b"\0")
            )
        ]

    def outside(self, pid: int) -> int:
        """Return the pid, seen from outside, of the process that srvinit knows as `pid`."""
        if not self._is_pid1:
            return pid
        space = proc.link(f"/proc/{self.pid}/ns/pid")
        for candidate in proc.all_pids():
            if proc.link(f"/proc/{candidate}/ns/pid") == space:
                inside = proc.status_field(candidate, "NSpid").split()[-1:]
                if inside == [str(pid)]:
                    return candidate
        raise AssertionError(f"no process {pid} in the namespace of {self.pid}")

    def _find_init(self) -> int:
        """Return the pid of what unshare(1) forked, once that has become the program."""
        launcher = self._process.pid
        unshare = os.path.realpath(program("unshare"))

        def has_become() -> int:
            if self._process.poll() is not None:
                self._fail("PID 1 of a new namespace", 0)
            for pid in proc.children(launcher):
                image = proc.link(f"/proc/{pid}/exe")
                if image not in {"", unshare}:
                    return pid
            return 0

        return proc.wait_until(has_become, 10, "unshare(1) to start PID 1")


# -- what a test needs around it -------------------------------------------------------------------


def free_port() -> int:
    """Return a TCP port nobody listens on, below those that outgoing connections are given."""
    while True:
        port = _PORTS.randrange(*_port_range())
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


_PORTS = random.Random()  # noqa: S311  no secret; pytest-randomly seeds the module's for each test


def _port_range() -> tuple[int, int]:
    """Return a range of this process's own where pytest-xdist runs several of them."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return 20000 + place * 10000 // count, 20000 + (place + 1) * 10000 // count


def ask(port: int, within: float = 5.0, path: str = "/") -> bytes:
    """Return the body of one GET on 127.0.0.1; raises OSError if there is no answer."""
    with socket.create_connection(("127.0.0.1", port), within) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."):
        raise ConnectionResetError(f"no answer on port {port}")
    return body


def clean_environ() -> dict[str, str]:
    """Return the environment of the tests without what srvinit would take for its own."""
    return {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}


def silenced(command: Sequence[str], path: str | os.PathLike[str]) -> list[str]:
    """Return a worker's command that writes its stderr to a file: the log stays srvinit's alone.

    The shell execs the command, so it is the same process and LISTEN_PID names it.
    """
    return ["sh", "-c", 'f=$1; shift; exec "$@" 2>>"$f"', "sh", os.fspath(path), *command]


def program(name: str, *folders: str) -> str:
    """Return the path of a program; where it is missing the test is skipped, in CI it fails."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    return found or missing(name)


def missing(what: str) -> NoReturn:
    """Skip the test for lack of something; in CI, where .ci/run installs everything, fail it."""
    import pytest

    if IN_CI:
        pytest.fail(f"{what} is missing, and .ci/run is to install it")
    pytest.skip(f"MISSING: {what}")


NOBODY = 65534


def as_user(uid: int) -> tuple[str, ...]:
    """Return what to put before a command to run it as this user, without a capability.

    Its workers may need `scenes.anybodys`. Where that user may not enter the folder that the tests
    are in (a checkout below /root, say) they are skipped, and counted, in CI too.
    """
    prefix = (program("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--")
    if not _runs_srvinit(prefix):
        import pytest

        pytest.skip(f"MISSING: a checkout that user {uid} may enter")
    return prefix


@functools.cache
def _runs_srvinit(prefix: tuple[str, ...]) -> bool:
    tried = [*prefix, *PROGRAM, "--worker-count=1", "--restart-policy=never", "--", "true"]
    done = subprocess.run(tried, capture_output=True, check=False, env=clean_environ(), timeout=60)
    return done.returncode == 0


# -- inside ----------------------------------------------------------------------------------------


def _namespace(pid1: bool) -> list[str]:  # noqa: FBT001  one caller
    if not pid1:
        return []
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # --kill-child: the namespace does not outlive tests that are killed
    return [program("unshare"), *as_root, "--pid", "--fork", "--mount-proc", "--kill-child"]


def _environment(mark: str, additional: Mapping[str, str]) -> dict[str, str]:
    name, _, text = mark.partition("=")
    return {**clean_environ(), name: text, **additional}


def _matches(event: dict[str, Any], name: str, fields: dict[str, Any]) -> bool:
    return event["event"] == name and all(event.get(key) == fields[key] for key in fields)


def _number(name: str) -> int:
    if name.startswith("RTMIN+"):
        return signal.SIGRTMIN + int(name.removeprefix("RTMIN+"))
    return signal.Signals[f"SIG{name}"]


def _kill(pid: int) -> None:
    assert pid > 1, f"pid {pid} is never ours"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
