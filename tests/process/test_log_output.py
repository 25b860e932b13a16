"""The log from outside: whole lines, no secrets, and a reader that is slow, gone or never there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import proc
import pytest
from scenes import BIND, LISTEN, QUICK, WEB, rounds, start_web, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    import harness
    from scenes import Start

SCHEMA = Path(__file__).parents[2] / "docs" / "events.schema.json"
LIMITLESS = ("--restart-delay=0", "--restart-limit=0")
F_SETPIPE_SZ = 1031
SECRETS = ("s3cr3t", "hunter2", "p4ss")


def memory_kib(pid: int) -> int:
    return int(proc.status_field(pid, "VmRSS").split()[0])


def lines_of(text: bytes) -> list[dict[str, Any]]:
    """Parse what was read from a log: each line must be whole, and JSON."""
    assert text.endswith(b"\n"), "the last line is cut"
    return [json.loads(line) for line in text.splitlines()]


def drain(fd: int) -> bytes:
    """Read all that is there, to the end or until nothing is left for now."""
    os.set_blocking(fd, False)
    parts = []
    try:
        while part := os.read(fd, 65536):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def wait_workers(pool: harness.Srvinit, count: int, without: int = 0) -> list[int]:
    """Wait until there are so many workers, one of them not there any more; no log is needed."""

    def found() -> list[int]:
        workers = pool.workers()
        return workers if len(workers) == count and without not in workers else []

    return proc.wait_until(found, 10, f"{count} workers without {without}")


# --- readers ---------------------------------------------------------------------------------


def test_c40_the_log_reader_goes_away(srvinit: Start) -> None:
    """After `| head -1` srvinit lives, replaces and stops with the usual exit status."""
    read_fd, write_fd = os.pipe()
    pool = srvinit("-w2", BIND, "--restart-delay=200ms", "--", *WEB, pid1=True, stderr=write_fd)
    os.close(write_fd)
    assert os.read(read_fd, 1) == b"{"
    wait_workers(pool, 2)
    os.close(read_fd)
    for _ in range(3):
        victim = pool.workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_workers(pool, 2, without=victim)
    assert stop(pool) == 0


@pytest.fixture
def small_pipe() -> Iterator[tuple[int, int]]:
    """Return the ends of a pipe of 4096 bytes."""
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, F_SETPIPE_SZ, 4096)
    yield read_fd, write_fd
    os.close(read_fd)


def test_c41_nobody_reads_the_log(srvinit: Start, small_pipe: tuple[int, int]) -> None:
    """Crash after crash into a full pipe: no growth; whole lines, and the loss is counted.

    200 crashes here; SRVINIT_ROUNDS=full makes it 500.
    """
    read_fd, write_fd = small_pipe
    crash = ("sh", "-c", "printf .; exit 1")
    pool = srvinit("-w4", *LIMITLESS, "--", *crash, pid1=True, stderr=write_fd)
    os.close(write_fd)
    proc.wait_until(lambda: len(pool.output) > 100, 30, "100 crashes")
    before = memory_kib(pool.pid)
    many = rounds(200, 500)
    proc.wait_until(lambda: len(pool.output) > 100 + many, 60, f"{many} crashes more")
    assert memory_kib(pool.pid) - before < 4096

    events = lines_of(read_until(read_fd, b"log.dropped"))
    pool.signal("TERM")
    assert pool.exit_status(within=5) == 0
    events += lines_of(drain(read_fd))
    dropped = [event["lines"] for event in events if event["event"] == "log.dropped"]
    assert sum(dropped) > many
    assert events[-1]["event"] == "srvinit.exiting"


def read_until(fd: int, text: bytes) -> bytes:
    """Read until a whole line with this text has come."""
    got = b""

    def came() -> bool:
        nonlocal got
        got += drain(fd)
        return text in got and got.endswith(b"\n")

    proc.wait_until(came, 10, f"{text!r} in the log")
    return got


def test_c41_term_does_not_wait_for_a_reader(srvinit: Start, small_pipe: tuple[int, int]) -> None:
    """With the pipe full from before TERM to the end: the usual status in the usual time."""
    read_fd, write_fd = small_pipe
    pool = srvinit(
        "-w4", *LIMITLESS, "--", "sh", "-c", "printf .; exit 1", pid1=True, stderr=write_fd
    )
    os.close(write_fd)
    proc.wait_until(lambda: len(pool.output) > 100, 30, "100 crashes")
    assert stop_unread(pool) == 0
    assert lines_of(drain(read_fd))


def stop_unread(pool: harness.Srvinit) -> int:
    pool.signal("TERM")
    return pool.exit_status(within=3)


def test_c43_the_log_device_is_full(srvinit: Start) -> None:
    """2>/dev/full: serves, replaces, stops, with the usual status."""
    with Path("/dev/full").open("wb") as full:
        pool = srvinit("-w2", *LIMITLESS, "--", "sleep", "1000", pid1=True, stderr=full)
    victim = wait_workers(pool, 2)[0]
    os.kill(victim, signal.SIGKILL)
    wait_workers(pool, 2, without=victim)
    assert stop_unread(pool) == 0


# --- what stderr can be ----------------------------------------------------------------------


def test_c44_stderr_is_a_socket(srvinit: Start) -> None:
    """As under some supervisors: every line arrives."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pool = srvinit("-w1", "--", "sleep", "1000", pid1=True, stderr=theirs.fileno())
        ours.settimeout(10)
        got = b""
        while b"srvinit.ready" not in got:
            got += ours.recv(65536)
        pool.signal("TERM")
        assert pool.exit_status() == 0
        theirs.close()
        got += b"".join(iter(lambda: ours.recv(65536), b""))
    assert lines_of(got)[-1]["event"] == "srvinit.exiting"


@pytest.mark.parametrize("mode", ["append", "write"])
def test_c44_stderr_is_a_file(srvinit: Start, tmp_path: Path, mode: str) -> None:
    """What was there stays, and what workers write meanwhile too: no seek, no truncation."""
    path = tmp_path / "log"
    path.write_text("before\n")
    flags = os.O_WRONLY | (os.O_APPEND if mode == "append" else 0)
    fd = os.open(path, flags)
    os.lseek(fd, 0, os.SEEK_END)
    pool = srvinit("-w1", "--", "sh", "-c", "echo worker >&2; echo done; exec sleep 1000",
                   pid1=True, stderr=fd)  # fmt: skip
    pool.wait_output("done")
    assert stop_unread(pool) == 0
    os.close(fd)
    before, *lines = path.read_text().splitlines()
    assert before == "before"
    assert lines.count("worker") == 1
    lines.remove("worker")
    assert json.loads(lines[-1])["event"] == "srvinit.exiting"
    assert all(json.loads(line) for line in lines)


def test_c44_stderr_is_a_terminal(srvinit: Start) -> None:
    """log.format=auto is for people there: no JSON, one line an event."""
    master, slave = pty.openpty()
    pool = srvinit("-w1", "--", "sleep", "1000", pid1=True, stderr=slave)
    got = b""
    while b"are ready" not in got:
        got += os.read(master, 65536)
    pool.signal("TERM")
    assert pool.exit_status() == 0
    os.close(slave)
    with contextlib.suppress(OSError):  # EIO is a terminal's end
        while True:
            got += os.read(master, 65536)
    os.close(master)
    assert b'{"' not in got
    assert b"exits with 0" in got


def test_c44_with_0_1_and_2_closed_nothing_lands_there(srvinit: Start) -> None:
    """No socket and no log line at 0 to 2: they are /dev/null, for srvinit and for workers."""
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    pool = srvinit("-w1", BIND, *LISTEN, QUICK, "--", *WEB, pid1=True, prefix=closed)

    def execed() -> list[int]:  # forked children still have srvinit's own arguments
        lines = {pid: proc.read(f"/proc/{pid}/cmdline") for pid in pool.workers()}
        return [pid for pid, line in lines.items() if line and b"--worker-require" not in line]

    (worker,) = proc.wait_until(execed, 10, "the exec of the worker")
    for pid in (pool.pid, worker):
        assert [proc.link(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert proc.link(f"/proc/{worker}/fd/3").startswith("socket:")
    assert stop_unread(pool) == 0


# --- what workers write ----------------------------------------------------------------------


def test_c42_worker_output_is_untouched(srvinit: Start) -> None:
    """A line of 1 MiB and all byte values on stdout: the same sha256."""
    script = "import sys; sys.stdout.buffer.write(b'x' * (1 << 20) + b'\\n' + bytes(range(256)))"
    command = (sys.executable, "-S", "-c", script)
    wanted = hashlib.sha256(subprocess.run(command, capture_output=True, check=True).stdout)
    pool = srvinit("-w1", "--restart-policy=never", "--", *command, pid1=True)
    assert pool.exit_status() == 0
    assert hashlib.sha256(pool.output).digest() == wanted.digest()


# --- what is in it ---------------------------------------------------------------------------


def test_every_line_is_what_the_catalogue_says(srvinit: Start, tmp_path: Path) -> None:
    """Start, crash, recycle, a bad file, scaling, a forced end: each line fits docs/."""
    schema = json.loads(SCHEMA.read_text())
    file = tmp_path / "srvinit.toml"
    file.write_text("[recycle]\nsettle = 0\n")
    options = (f"--config={file}", "--log-level=debug", "--restart-delay=10ms", "-w2")
    pool = start_web(srvinit, *options, "--shutdown-timeout=300ms", environ={"STUBBORN": "1"})
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_event("worker.ready", nth=3)
    pool.signal("USR1")  # nobody handles it: two more crashes
    pool.wait_event("worker.ready", nth=5)
    file.write_text("[recycle]\nsettle = -1\n")
    pool.signal("HUP")
    pool.wait_event("config.rejected")
    pool.signal("TTIN")
    pool.wait_event("count.changed")
    assert stop(pool) == 124
    assert pool.strays == []
    validator = jsonschema.Draft202012Validator(schema)
    faults = [
        f"{event['event']}: {fault.message}"
        for event in pool.events
        for fault in validator.iter_errors(event)
    ]
    assert faults == []
    assert len({event["event"] for event in pool.events}) > 15


def test_a_name_cannot_forge_a_line(srvinit: Start, tmp_path: Path) -> None:
    """Newlines and control characters in a command's name stay within the string they are in."""
    name = './x\n{"timestamp": "", "level": "error", "event": "forged"}\x1b[2J'
    pool = srvinit("-w1", "--", name, pid1=True, cwd=tmp_path)
    assert pool.exit_status() == 127
    assert pool.strays == []
    assert "forged" not in {event["event"] for event in pool.events}
    assert not [line for line in pool.lines if "\x1b" in line]


def test_a_line_is_at_most_4096_bytes(srvinit: Start, tmp_path: Path) -> None:
    """A very long name is cut, and the line stays JSON."""
    pool = srvinit("-w1", "--", "./" + "long" * 2000, pid1=True, cwd=tmp_path)
    assert pool.exit_status() in {126, 127}
    assert pool.strays == []
    assert max(len(line.encode()) + 1 for line in pool.lines) <= 4096


def test_c51_no_secret_is_logged(srvinit: Start, tmp_path: Path) -> None:
    """Arguments, environment and worker.env stay out of the log and the termination message."""
    told = tmp_path / "told"
    told.touch()
    environ = {"TOKEN": SECRETS[0], "TERMINATION_MESSAGE_PATH": str(told)}
    options = ("-w1", "--log-level=debug", f"--worker-env=PASS={SECRETS[2]}")
    command = ("sh", "-c", "exit 3", "x", f"--password={SECRETS[1]}")
    pool = srvinit(*options, "--restart-delay=50ms", "--", *command, pid1=True, environ=environ)
    pool.wait_event("worker.ready")
    pool.signal("HUP")
    assert pool.exit_status() == 3
    everything = "\n".join([*pool.lines, told.read_text()])
    assert told.read_text()
    assert not [secret for secret in SECRETS if secret in everything]


def test_c51_a_refused_setting_does_not_show_a_secret(srvinit: Start) -> None:
    """A fault in worker.env names the source, not the value."""
    pool = srvinit("--worker-env", f"{SECRETS[0]}", "--", "true")
    assert pool.exit_status() == 2
    assert not [line for line in pool.lines if SECRETS[0] in line]


@pytest.mark.parametrize(("level", "least"), [("debug", 10), ("warning", 30), ("error", 40)])
def test_log_level_is_the_least_that_is_logged(srvinit: Start, level: str, least: int) -> None:
    weights = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    options = ("-w1", f"--log-level={level}", "--restart-delay=0", "--restart-limit=3")
    pool = srvinit(*options, "--", "false", pid1=True)
    assert pool.exit_status() == 1
    assert {weights[event["level"]] for event in pool.events} <= {10, 20, 30, 40} - {
        weight for weight in weights.values() if weight < least
    }
    assert pool.found("restart.gave_up")


def test_a_talker_on_stderr_is_told_from_the_log(srvinit: Start) -> None:
    """Workers' own stderr is the same stream, and each line of both stays whole."""
    talk = "for i in $(seq 200); do echo worker says $i >&2; done; exec sleep 1000"
    pool = srvinit("-w2", "--log-level=debug", "--", "sh", "-c", talk, pid1=True)
    pool.wait_line("worker says 200")
    pool.wait_event("srvinit.ready")
    assert stop(pool) == 0
    assert {line.rsplit(" ", 1)[0] for line in pool.strays} == {"worker says"}
