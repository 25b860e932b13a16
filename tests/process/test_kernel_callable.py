"""Library mode: a Python callable as a worker, with the ways of a program of its own."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from forked import forked
from spawning import ended, launch, protocols, run, say, start

from srvinit.kernel import exec as execing
from srvinit.kernel import signals, spawn

if TYPE_CHECKING:
    from pathlib import Path


def call(func: Any, **how: Any) -> list[Any]:
    """Run a callable as a worker."""
    return run(launch("callable", func=func, **how))


def test_a_callable_gets_its_place_and_its_environment() -> None:
    """Its sockets stay where they are: LISTEN_FDS cannot say so, the other protocols can."""

    def body() -> list[Any]:
        def work(slot: int, generation: int) -> None:
            say(slot, generation, os.getpgrp() == os.getpid())
            say(protocols(dict(os.environ)))

        os.environ["LISTEN_FDS"] = "1"
        return call(work, sockets=(("web", ":80", 0),))

    output, code, _ = forked(body)
    assert code == 0
    assert output == (
        "2 7 True\n"
        "{'SRVINIT_WORKER': '2', 'SRVINIT_GENERATION': '7', 'EINHORN_FD_COUNT': '1', "
        "'EINHORN_FD_0': '0', 'SERVER_STARTER_PORT': '80=0', 'SERVER_STARTER_GENERATION': '7'}\n"
    )


def raising(error: BaseException) -> Any:
    def work(_slot: int, _generation: int) -> None:
        say("done")
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit("sorry"), 1),
        (ValueError("ours"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_callable_ends_with_the_status_of_a_program(error: BaseException, code: int) -> None:
    def body() -> list[Any]:
        return call(raising(error))

    assert forked(body)[:2] == ["done\n", code]


def test_what_the_parent_had_in_its_buffer_is_written_once(tmp_path: Path) -> None:
    def body() -> str:
        sys.stdout = (tmp_path / "output").open("a")
        sys.stdout.write("before ")
        call(raising(SystemExit()))
        sys.stdout.flush()
        return (tmp_path / "output").read_text()

    assert forked(body) == "before done\n"


def test_a_callable_is_running_when_its_pipe_ends() -> None:
    """And the pipe's end does not wait for the end of the callable."""

    def body() -> int:
        signals.block()

        def work(_slot: int, _generation: int) -> None:
            signal.pause()

        pid, result = start(launch("callable", func=work, ignore_sigint=False))
        assert isinstance(result, execing.Execed)
        signals.send(pid, "INT")
        return ended(pid)

    assert forked(body) == 130


def test_a_callable_waits_for_its_threads_and_leaves_its_parents_atexit_alone() -> None:
    def body() -> list[Any]:
        import atexit
        import threading

        gate = threading.Event()

        def late() -> None:
            gate.wait(10)
            say("late")

        def work(_slot: int, _generation: int) -> None:
            threading.Thread(target=late).start()
            gate.set()

        atexit.register(say, "the parent's")
        return call(work)

    assert forked(body)[:2] == ["late\n", 0]


def test_a_callable_does_not_hold_srvinits_own_descriptors() -> None:
    def body() -> list[Any]:
        signals.block()
        read_fd, write_fd = os.pipe()

        def work(_slot: int, _generation: int) -> None:
            signal.pause()

        child = spawn.spawn(launch("callable", func=work), 0, 0, None, (write_fd,))
        os.close(write_fd)
        ended_first = select.select([read_fd], [], [], 10)[0] == [read_fd]
        signals.send(child.pid, "KILL")
        return [ended_first, ended(child.pid)]

    assert forked(body) == [True, -signal.SIGKILL]
