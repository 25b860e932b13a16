"""srvinit as a library, black box: `python app.py` where app.py calls srv()."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness import ask, free_port
from proc import wait_until

APP = Path(__file__).parent / "apps" / "counting.py"


@pytest.fixture
def app(srvinit):
    def start(how: str, **environ: str):
        return srvinit(how, run=[sys.executable, str(APP)], environ=environ)

    return start


@pytest.mark.parametrize("how", ["nested", "options", "named"])
def test_each_way_to_call_srv_serves_recycles_and_returns(app, how):
    """The three spellings of options are one thing; imports are done once, whatever is recycled."""
    port = free_port()
    program = app(how, PORT=str(port))
    program.wait_event("srvinit.ready", workers=2)
    slot, generation, _pid = ask(port).decode().split()
    assert slot in "01"
    assert generation == "1"

    program.signal("HUP")
    program.wait_event("recycle.finished", within=20, generation=2)
    assert ask(port).decode().split()[1] == "2"

    program.signal("TERM")
    assert program.exit_status() == 0
    output = program.output.decode()
    assert output.count("imported by") == 1
    assert output.count("disconnect") == 4
    assert output.count("returning") == 4
    assert output.endswith("srv returned\nown handler\nend of the program\n")
    exits = program.found("worker.exited")
    assert [event["status"] for event in exits] == [0, 0, 0, 0]


def test_a_function_without_argument_and_callback_ends_by_system_exit(app):
    """`finally` blocks run in a worker that registered nothing, and its exit status is 0."""
    program = app("bare")
    program.wait_event("srvinit.ready", workers=4)
    wait_until(lambda: program.output.count(b"bare ") == 4, 10, "four workers to say who they are")
    program.signal("TERM")
    assert program.exit_status() == 0
    assert program.output.count(b"cleaned up") == 4


def test_an_exception_is_a_crash_with_its_traceback_on_stderr(app):
    """Whoever reads the log sees the traceback, a crash, and at last a status that is not 0."""
    program = app("nested", BEHAVE="raise")
    assert program.exit_status() == 1
    text = "\n".join(program.strays)
    assert "srv returned" not in program.output.decode()
    crashed = program.found("worker.exited", asked=False)
    assert {event["status"] for event in crashed} == {1}
    assert text.count("ValueError: the function failed on purpose") >= len(crashed) > 0
    assert program.found("restart.gave_up")


def test_a_function_that_exits_gives_its_status(app):
    """sys.exit(7) in a worker is the worker's exit status, and in the end srvinit's."""
    program = app("nested", BEHAVE="exit")
    assert program.exit_status() == 7
    assert not program.strays


def test_faults_of_options_are_reported_all_at_once_and_nothing_is_started(app):
    program = app("refused")
    assert program.exit_status() == 0
    first, second, *_ = program.output.decode().splitlines()[1:]
    assert "worker_cont" in first
    assert "worker_count" in first
    assert "recycle_timeout" in second
    assert "soon" in second
    assert not program.events


def test_a_socket_that_the_program_opened_itself_can_be_shared(app):
    program = app("late")
    address = program.wait_event("socket.bound")["address"]
    program.wait_event("srvinit.ready")
    assert ask(int(address.rpartition(":")[2]))
    program.signal("TERM")
    assert program.exit_status() == 0


def test_a_program_that_watches_a_path_lives_on_when_it_changes_later(srvinit, tmp_path):
    """What wakes srvinit is gone when srv returns: SIGIO would end it. No worker ever has it."""
    app = Path(__file__).parent / "apps" / "watching.py"
    program = srvinit(str(tmp_path), run=[sys.executable, str(app)])
    program.wait_event("srvinit.ready", within=20)
    (tmp_path / "new").write_text("one")
    program.wait_event("recycle.asked")
    program.wait_event("recycle.finished", within=20)
    program.signal("TERM")
    assert program.exit_status() == 0
    assert program.output == b"directories: []\n" * 2 + b"still here\n"
