"""`docker run -it`: a person at a terminal, through the engine."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from typing import TYPE_CHECKING, Any, Self

import proc
import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from engine import Docker


class Terminal:
    """A client of Docker on a terminal of its own."""

    def __init__(self, docker: Docker, *arguments: str) -> None:
        self.fd, other = pty.openpty()
        self.resize(24, 80)
        self.said = b""
        self._docker = docker
        self._name = f"terminal-{os.getpid()}-{self.fd}"
        self.client: subprocess.Popen[Any] = docker.start(
            *("run", "--rm", "-it", f"--name={self._name}", *arguments),
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._docker.run("rm", "--force", self._name, fails=True)
        self.client.kill()
        self.client.wait()
        os.close(self.fd)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size, as a person does with the mouse: the client gets WINCH."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def runs(self, program: str) -> bool:
        """Tell whether a program runs in the container."""
        asked = self._docker.run("exec", self._name, "/bin/pidof", program, fails=True)
        return asked.returncode == 0

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.fd, text.encode())

    def wait(self, text: str, within: float = 20.0) -> None:
        """Wait until the terminal has shown this."""
        deadline = time.monotonic() + within
        while text.encode() not in self.said:
            left_s = deadline - time.monotonic()
            ready, _, _ = select.select([self.fd], [], [], max(0.0, left_s))
            assert ready, f"{text!r} did not come in {within:g} s:\n{self.said.decode()}"
            try:
                self.said += os.read(self.fd, 65536)
            except OSError as ended:  # EIO: nobody holds the other end any more
                raise AssertionError(f"ended without {text!r}:\n{self.said.decode()}") from ended


def test_ctrl_c_ends_it_with_0(docker: Docker, image: str) -> None:
    """C14: the shell does not react, srvinit does; nothing waits for a timeout."""
    with Terminal(docker, image, "-w1", "--", "/bin/sh", "-c", "sleep 1000") as terminal:
        terminal.wait("is ready")

        terminal.type("\x03")

        assert terminal.client.wait(10) == 0


def test_ctrl_c_in_plain_init_use_is_the_commands(docker: Docker, image: str) -> None:
    """C14: with worker.ignore_sigint=false the worker dies of it, as without srvinit: 130."""
    plain = ["-w1", "--restart-policy=never", "--no-worker-ignore-sigint"]
    with Terminal(docker, image, *plain, "--", "/bin/sleep", "1000") as terminal:
        terminal.wait("is ready")

        terminal.type("\x03")

        assert terminal.client.wait(10) == 130


def test_a_shell_follows_the_window(docker: Docker, make_image: Callable[[str], str]) -> None:
    """C13: a single interactive shell sees each new size, and Ctrl-C reaches what runs in it."""
    plain = ["-w1", "--restart-policy=never", "--no-worker-ignore-sigint", "--log-level=error"]
    with Terminal(docker, make_image("busybox"), *plain, "--", "/bin/sh") as terminal:
        terminal.type("echo a$((1))b\r")
        terminal.wait("a1b")
        proc.wait_until(lambda: _size_is(terminal, "24 80"), 10, "the size inside")

        terminal.resize(33, 111)
        terminal.client.send_signal(signal.SIGWINCH)
        proc.wait_until(lambda: _size_is(terminal, "33 111"), 10, "the new size inside")

        terminal.type("sleep 1000\r")
        proc.wait_until(lambda: terminal.runs("sleep"), 10, "the shell to start sleep")
        terminal.type("\x03")
        terminal.type("echo still$((1))here\r")
        terminal.wait("still1here")
        terminal.type("exit 7\r")
        assert terminal.client.wait(10) == 7


def _size_is(terminal: Terminal, size: str) -> bool:
    """Ask the shell for its window's size: the client tells the engine a moment later."""
    terminal.said = b""
    terminal.type("stty size; echo asked$((1))\r")
    terminal.wait("asked1")
    return size.encode() in terminal.said


@pytest.mark.parametrize("count", [1, 2])
def test_window_changes_stop_nobody(
    docker: Docker, make_image: Callable[[str], str], count: int
) -> None:
    """C13: an attached `docker run` hands WINCH on to PID 1; to servers it may mean "stop"."""
    counting = "trap 'echo got-winch' WINCH; while :; do sleep 0.05; done"
    command = [f"-w{count}", "--", "/bin/sh", "-c", counting]
    with Terminal(docker, make_image("busybox"), *command) as terminal:
        terminal.wait("all workers are ready")

        for columns in range(90, 95):
            terminal.resize(24, columns)
            terminal.client.send_signal(signal.SIGWINCH)
        terminal.type("\x03")

        assert terminal.client.wait(20) == 0
        rest = terminal.said
        assert count == 1 or b"got-winch" not in rest
