"""Terminals and standard input: Ctrl-C, Ctrl-Z, the window's size, hanging up."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from scenes import QUICK, SLACK_S, at, python, start_talk, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from scenes import Start

# As `docker run -it` does: what follows leads a session whose terminal is its stdin.
CONTROLLING = (
    sys.executable,
    "-S",
    "-c",
    (
        "import fcntl, os, sys, termios\n"
        "if os.getpid() != os.getsid(0): os.setsid()\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    ),
)
CTRL_C, CTRL_D, CTRL_Z = b"\x03", b"\x04", b"\x1a"
SENT_LAST = "RTMIN+30"


class Terminal:
    """A terminal as somebody sits at it. A thread takes in what is shown."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.shown = b""
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while select.select([self.master, self._wake[0]], [], [])[0] == [self.master]:
            try:
                self.shown += os.read(self.master, 65536)
            except OSError:  # EIO: everybody else has closed it
                return

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def resize(self, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))

    def wait_shown(self, text: bytes, within: float = 10) -> None:
        def is_shown() -> bool:
            return text in self.shown

        try:
            proc.wait_until(is_shown, within, f"{text!r} on the terminal")
        except AssertionError as late:
            late.add_note(repr(self.shown))
            raise

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def start(self, srvinit: Start, *arguments: str, **how: Any) -> harness.Srvinit:
        """Start srvinit on it; the log stays a pipe, and workers' stdout a file."""
        how.setdefault("pid1", True)
        return srvinit(*arguments, stdin=self.slave, prefix=CONTROLLING, **how)

    def close(self) -> None:
        """Hang up. A read of the master that waits would keep the terminal alive: it ends first."""
        if self.master >= 0:
            os.write(self._wake[1], b".")
            self._thread.join()
            for fd in (self.slave, self.master, *self._wake):
                os.close(fd)
            self.master = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


# --- Ctrl-C ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pid1", [True, False], ids=["PID 1", "a process"])
def test_c14_ctrl_c_ends_what_has_no_handler_for_it(
    srvinit: Start, terminal: Terminal, *, pid1: bool
) -> None:
    """`sh -c 'sleep 10'`: over within a second, nothing left, 0, the terminal as before."""
    before = terminal.settings()
    pool = terminal.start(srvinit, "-w1", "--", "sh", "-c", "sleep 10; :", pid1=pid1)
    pool.wait_event("srvinit.ready")
    terminal.press(CTRL_C)
    assert pool.exit_status() == 0
    assert at(pool.events[-1]) - at(pool.found("shutdown.started")[0]) < SLACK_S
    assert pool.everything() == []
    assert terminal.settings() == before


def test_c14_under_a_plain_init_ctrl_c_is_the_commands_own_business(
    srvinit: Start, terminal: Terminal
) -> None:
    """restart.policy=never, worker.ignore_sigint=false: 130, as from any shell."""
    options = ("-w1", "--restart-policy=never", "--no-worker-ignore-sigint")
    pool = terminal.start(srvinit, *options, "--", "sh", "-c", "sleep 10; :")
    pool.wait_event("srvinit.ready")
    terminal.press(CTRL_C)
    assert pool.exit_status() == 130
    assert pool.everything() == []


def test_a_second_ctrl_c_kills_at_once(srvinit: Start, terminal: Terminal) -> None:
    """A second later, by somebody out of patience; tests/unit has the key that bounced."""
    pool = terminal.start(srvinit, "-w2", "--", *python("talk.py", "end=USR1:0"))
    pool.wait_output("ready", nth=2)
    pool.wait_event("srvinit.ready")
    terminal.press(CTRL_C)
    started = pool.wait_event("shutdown.started", why="SIGINT")
    old = "the first Ctrl-C to be a second old"
    proc.wait_until(lambda: time.time() - at(started) > 1.1, 5, old)
    terminal.press(CTRL_C)
    assert pool.exit_status(within=3) == 124
    assert len(pool.found("worker.killed")) == 2


def test_a_second_int_that_no_terminal_sent_kills_nobody(srvinit: Start) -> None:
    """A script's INT, however late, is no impatience."""
    pool = start_talk(srvinit, count=2, words=("end=USR1:0",))
    pool.signal("INT")
    started = pool.wait_event("shutdown.started")
    proc.wait_until(lambda: time.time() - at(started) > 1.1, 5, "the first INT to be a second old")
    pool.signal("INT")
    pool.signal("USR1")
    assert pool.exit_status() == 0
    assert pool.found("worker.killed") == []


# --- the window's size -----------------------------------------------------------------------


def test_c13_several_workers_never_get_winch_from_a_terminal(
    srvinit: Start, terminal: Terminal
) -> None:
    """Ten changes of the window's size: none for the workers."""
    pool = terminal.start(srvinit, "-w2", "--", *python("talk.py"))
    pool.wait_output("ready", nth=2)
    pool.wait_event("srvinit.ready")
    for lines in range(30, 40):
        terminal.resize(lines)
    pool.signal(SENT_LAST)
    pool.wait_output(f"got {SENT_LAST}", nth=2)
    assert b"got WINCH" not in pool.output
    assert stop(pool) == 0


def test_c13_a_single_interactive_shell_follows_the_windows_size(
    srvinit: Start, terminal: Terminal
) -> None:
    """`srvinit -w1 -- bash` is usable: it reads the terminal, and hears of WINCH."""
    shell = ("bash", "--norc", "--noediting", "-i")
    options = ("-w1", "--restart-policy=never")
    pool = terminal.start(srvinit, *options, "--", *shell, stdout=terminal.slave)
    terminal.press(b"trap 'echo follows' WINCH; echo re'ad'y\n")
    terminal.wait_shown(b"ready")
    terminal.resize(44)
    terminal.press(b"\n")  # a trap runs when the shell is done with what it reads
    terminal.wait_shown(b"follows\r\n")
    terminal.press(b"exit 5\n")
    assert pool.exit_status() == 5


# --- job control and hanging up --------------------------------------------------------------


def test_ctrl_z_stops_the_job_and_fg_goes_on_with_it(srvinit: Start, terminal: Terminal) -> None:
    """From a shell: one interactive worker stops and continues as any program there does."""
    shell = ("bash", "--norc", "--noediting", "-i")
    program = " ".join([*harness.PROGRAM, "-w1", "--restart-policy=never", "--", "cat"])
    pool = srvinit(run=shell, prefix=CONTROLLING, stdin=terminal.slave, stdout=terminal.slave,
                   stderr=terminal.slave)  # fmt: skip
    terminal.press(program.encode() + b"\n")
    terminal.wait_shown(b"are ready")
    terminal.press(b"hello\n")
    terminal.wait_shown(b"hello\r\nhello\r\n")
    terminal.press(CTRL_Z)
    terminal.wait_shown(b"Stopped")
    terminal.press(b"echo shell is ba'ck'; fg\n")
    terminal.wait_shown(b"shell is back")
    terminal.press(b"again\n")
    terminal.wait_shown(b"again\r\nagain\r\n")
    terminal.press(CTRL_D)
    terminal.wait_shown(b"exits with 0")
    terminal.press(b"echo status $?; exit\n")
    terminal.wait_shown(b"status 0")
    assert pool.exit_status() == 0


def test_a_terminal_that_goes_away_is_a_shutdown(srvinit: Start, terminal: Terminal) -> None:
    """The HUP of a terminal's end is no order to recycle."""
    pool = terminal.start(srvinit, "-w1", "--", "sleep", "1000")
    pool.wait_event("srvinit.ready")
    terminal.close()
    assert pool.exit_status() == 0
    assert pool.found("recycle.started") == []
    assert "terminal" in pool.found("shutdown.started")[0]["why"]


def test_a_hup_by_kill_recycles_on_a_terminal_too(srvinit: Start, terminal: Terminal) -> None:
    pool = terminal.start(srvinit, "-w1", QUICK, "--", "sleep", "1000")
    pool.wait_event("srvinit.ready")
    pool.signal("HUP")
    pool.wait_event("recycle.finished")
    assert stop(pool) == 0


# --- standard input --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_c52_only_a_single_command_gets_stdin(srvinit: Start, tmp_path: Path, count: int) -> None:
    """`echo 'touch pwned' | srvinit -w2 -- sh` runs nothing: workers' stdin is /dev/null."""
    script = tmp_path / "script"
    script.write_text("touch pwned; readlink /proc/$$/fd/0\n")
    with script.open("rb") as stdin:
        pool = srvinit(f"-w{count}", "--restart-policy=never", "--", "sh", pid1=True, stdin=stdin,
                       cwd=tmp_path)  # fmt: skip
        assert pool.exit_status() == 0
    assert (tmp_path / "pwned").exists() == (count == 1)


def test_c52_stdin_of_several_is_dev_null(srvinit: Start) -> None:
    with subprocess.Popen(["sleep", "1000"], stdout=subprocess.PIPE) as silent:
        pool = srvinit("-w2", "--", "sleep", "1000", pid1=True, stdin=silent.stdout)
        pool.wait_event("srvinit.ready")
        links = {proc.link(f"/proc/{worker}/fd/0") for worker in pool.workers()}
        assert links == {"/dev/null"}
        assert stop(pool) == 0
        silent.send_signal(signal.SIGKILL)
