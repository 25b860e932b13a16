"""Starts workers by the kernel's wrappers alone, as srvinit does, in the process it is called in.

That process should be one of its own (see forked.py): it blocks its signals for good.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from srvinit.kernel import exec as execing
from srvinit.kernel import exec_words, signals, spawn


def launch(*argv: str, **how: Any) -> spawn.Launch:
    """Make a Launch of the tests' own environment; the mask is that of an ordinary program."""
    how.setdefault("environ", dict(os.environb))
    how.setdefault("mask", set())
    return spawn.Launch(argv=argv, **how)


def start(how: spawn.Launch, notify_path: str | None = None) -> tuple[int, Any]:
    """Spawn; return the pid and what its exec pipe told, after waiting for it as srvinit does."""
    child = spawn.spawn(how, 2, 7, notify_path)
    result = execing.read_exec_result(child.exec_fd)
    while result is None:
        assert signals.wait(10), f"waited 10 s for the exec of {how.argv}"
        result = execing.read_exec_result(child.exec_fd)
    os.close(child.exec_fd)
    return child.pid, result


def ended(pid: int) -> int:
    """Return a child's exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(how: spawn.Launch, notify_path: str | None = None) -> list[Any]:
    """Run a command to its end: its standard output, exit code, and its failure in words."""
    signals.block()
    read_fd, write_fd = os.pipe()
    saved = os.dup(1)
    os.set_inheritable(saved, False)  # noqa: FBT003  the call has no other form
    os.dup2(write_fd, 1)
    os.close(write_fd)
    try:
        pid, result = start(how, notify_path)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    output = b""
    while part := os.read(read_fd, 65536):
        output += part
    words = exec_words.explain(result, how.argv[0]) if isinstance(result, execing.Failed) else ""
    return [output.decode(errors="backslashreplace"), ended(pid), words]


PROTOCOLS = ("LISTEN_", "SERVER_STARTER_", "EINHORN_", "NOTIFY_", "WATCHDOG_", "SRVINIT_")


def protocols(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(PROTOCOLS)}


def names_in(directory: str) -> list[str]:
    """Return the names of a directory of /proc."""
    return [entry.name for entry in Path(directory).iterdir()]


def say(*words: object) -> None:
    """Print, as a worker does."""
    print(*words)
