"""The exit statuses of DESIGN, section 8, as a platform sees them, and how the log ends."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from scenes import BIND, SLACK_S, WEB, at, start_talk, start_web, stop

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import harness
    from scenes import Start

NEVER = "--restart-policy=never"


def last(pool: harness.Srvinit) -> dict[str, Any]:
    """Return the last event, which is to tell how srvinit ends."""
    event = pool.events[-1]
    assert event["event"] == "srvinit.exiting"
    assert pool.strays == []
    return event


# --- asked to stop ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", [WEB, ["sleep", "1000"]], ids=["graceful", "killed by it"])
def test_c10_a_requested_stop_is_no_error(srvinit: Start, command: list[str]) -> None:
    """0 if all stopped in time, whatever they made of the stop signal: pitfall 7."""
    pool = srvinit("-w2", BIND, "--", *command, pid1=True)
    pool.wait_event("srvinit.ready")
    assert stop(pool) == 0
    assert last(pool)["status"] == 0


def test_c35_a_worker_that_never_ends_is_killed_and_the_status_says_so(srvinit: Start) -> None:
    """STUBBORN=1: KILL after shutdown.timeout, over soon after, 124, one line with pid and KILL."""
    pool = start_web(srvinit, "-w1", "--shutdown-timeout=1s", environ={"STUBBORN": "1"})
    assert stop(pool) == 124
    stopping, killed = pool.found("worker.stopping")[0], pool.found("worker.killed")
    assert len(killed) == 1
    assert killed[0]["pid"] == stopping["pid"]
    assert "SIGTERM" in killed[0]["message"]
    assert 0.95 < killed[0]["waited_s"] < 1 + SLACK_S
    assert 0.95 < at(killed[0]) - at(stopping) < 1 + SLACK_S
    assert at(pool.events[-1]) - at(stopping) < 2 + SLACK_S
    assert pool.found("worker.exited")[0]["status"] == -9
    assert last(pool)["status"] == 124


# --- the command's own status ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)],
)
def test_a_plain_init_exits_as_its_command_does(srvinit: Start, script: str, status: int) -> None:
    """restart.policy=never: the command's status, or 128 and its signal, at once."""
    pool = srvinit("-w1", NEVER, "--", "sh", "-c", script, pid1=True)
    assert pool.exit_status() == status
    assert last(pool)["status"] == status
    assert len(pool.found("worker.started")) == 1


def test_c10_a_plain_init_whose_command_is_killed_from_outside_says_143(srvinit: Start) -> None:
    """Nobody asked srvinit to stop: a worker killed by TERM is the command's own end."""
    pool = srvinit("-w1", NEVER, "--", "sleep", "1000", pid1=True)
    pool.wait_event("srvinit.ready")
    os.kill(pool.workers()[0], signal.SIGTERM)
    assert pool.exit_status() == 143


def test_a_plain_init_that_is_asked_to_stop_exits_as_its_command_does(srvinit: Start) -> None:
    """As under tini: the command's own status also where srvinit passed the TERM on."""
    pool = start_talk(srvinit, NEVER, words=("end=TERM:5",))
    assert stop(pool) == 5


def test_the_first_status_that_is_not_0_counts_where_there_are_several(srvinit: Start) -> None:
    """Workers 0 to 2 end with 0, 11 and 12, in this order; none is started anew."""
    pool = start_talk(srvinit, NEVER, count=3, words=("end=USR1:0,USR2:11,ALRM:12",))
    by_slot = {event["slot"]: event["pid"] for event in pool.found("worker.started")}
    for slot, name in enumerate(["USR1", "USR2", "ALRM"]):
        os.kill(pool.outside(by_slot[slot]), getattr(signal, f"SIG{name}"))
        pool.wait_event("worker.exited", slot=slot)
    assert pool.exit_status() == 11


def test_on_failure_restarts_what_fails_and_ends_with_what_succeeds(
    srvinit: Start, tmp_path: Path
) -> None:
    """restart.policy=on-failure: exit 3 is started anew, exit 0 is not; then srvinit ends."""
    script = "[ -e again ] && exit 0; : >again; exit 3"
    options = ("-w1", "--restart-policy=on-failure", "--restart-delay=0")
    pool = srvinit(*options, "--", "sh", "-c", script, cwd=tmp_path, pid1=True)
    assert pool.exit_status() == 0
    assert [event["status"] for event in pool.found("worker.exited")] == [3, 0]


def test_c11_giving_up_ends_with_the_failures_own_status(srvinit: Start) -> None:
    """restart.limit reached: 78, within moments, and the last line says why."""
    options = ("-w2", "--restart-delay=10ms", "--restart-limit=5")
    pool = srvinit(*options, "--", "sh", "-c", "exit 78", pid1=True)
    assert pool.exit_status(within=5 + SLACK_S) == 78
    assert last(pool)["status"] == 78
    assert "5" in last(pool)["reason"]
    assert pool.found("restart.gave_up")[0]["failures"] == 5


def test_giving_up_over_workers_that_end_too_soon_with_0_is_no_success(srvinit: Start) -> None:
    """A server that exits 0 before it serves has failed: srvinit ends with 1, not 0."""
    options = ("--worker-require=listen", BIND, "-w1", "--restart-delay=0", "--restart-limit=3")
    pool = srvinit(*options, "--", "true", pid1=True)
    assert pool.exit_status() == 1
    assert last(pool)["status"] == 1
    assert len(pool.found("worker.started")) == 3


# --- what cannot be started ------------------------------------------------------------------


def written(folder: Path, name: str, text: str, mode: int) -> str:
    path = folder / name
    path.write_bytes(text.encode())
    path.chmod(mode)
    return f"./{name}"


def refused(srvinit: Start, command: str, cwd: str | os.PathLike[str]) -> tuple[int, str]:
    """Run a command that cannot be run; return the status, and what the one attempt says."""
    pool = srvinit("--", command, cwd=cwd, pid1=True)
    status = pool.exit_status(within=5)
    assert last(pool)["status"] == status
    assert at(pool.events[-1]) - at(pool.events[0]) < 1 + SLACK_S
    assert {event["generation"] for event in pool.found("worker.started")} == {1}
    assert len(pool.found("worker.started")) <= 4, "it was tried again"
    return status, pool.found("worker.exited")[0]["reason"]


def test_c12_a_script_with_crlf_line_ends_shows_its_interpreter(
    srvinit: Start, tmp_path: Path
) -> None:
    """127, and the message shows the carriage return that nobody can see."""
    command = written(tmp_path, "w", "#!/bin/sh\r\necho x\r\n", 0o755)
    status, reason = refused(srvinit, command, tmp_path)
    assert status == 127
    assert r"/bin/sh\r" in reason


def test_a_command_that_is_missing_exits_127(srvinit: Start, tmp_path: Path) -> None:
    status, reason = refused(srvinit, "no-such-program", tmp_path)
    assert status == 127
    assert "no-such-program" in reason


def test_a_command_that_is_not_executable_exits_126(srvinit: Start, tmp_path: Path) -> None:
    command = written(tmp_path, "w", "#!/bin/sh\n", 0o644)
    status, reason = refused(srvinit, command, tmp_path)
    assert status == 126
    assert "./w" in reason


def test_a_script_without_an_interpreter_line_exits_126(srvinit: Start, tmp_path: Path) -> None:
    command = written(tmp_path, "w", "echo x\n", 0o755)
    status, reason = refused(srvinit, command, tmp_path)
    assert status == 126
    assert "#!" in reason


def test_a_program_of_another_machine_exits_126(srvinit: Start, tmp_path: Path) -> None:
    """An ELF file for a machine that does not exist here."""
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(44)
    path = tmp_path / "w"
    path.write_bytes(elf)
    path.chmod(0o755)
    status, reason = refused(srvinit, "./w", tmp_path)
    assert status == 126
    assert "architecture" in reason or "machine" in reason


def test_settings_that_are_refused_exit_2_and_start_nothing(srvinit: Start) -> None:
    pool = srvinit("--worker-count=-1", "--recycle-timeot=3", "--", "echo", "started")
    assert pool.exit_status() == 2
    assert pool.output == b""
    assert len(pool.lines) == 2, "one line a fault"


def test_c20_a_port_that_is_taken_exits_1_before_any_worker(srvinit: Start) -> None:
    """One error line, with the address and EADDRINUSE."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        pool = srvinit(f"--bind={address}", "--", *WEB, pid1=True)
        assert pool.exit_status(within=5) == 1
    assert pool.found("worker.started") == []
    errors = [event for event in pool.events if event["level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["address"] == address
    assert "EADDRINUSE" in errors[0]["error"]
    assert last(pool)["status"] == 1


# --- the termination message -----------------------------------------------------------------


def test_other_ends_than_0_leave_a_termination_message(srvinit: Start, tmp_path: Path) -> None:
    """The last events as text for people, 4096 bytes at most, in a file that is there already."""
    file = tmp_path / "termination-log"
    file.write_text("")
    options = ("-w2", "--restart-delay=0", "--restart-limit=50")
    environ = {"TERMINATION_MESSAGE_PATH": str(file)}
    pool = srvinit(*options, "--", "sh", "-c", "exit 78", pid1=True, environ=environ)
    assert pool.exit_status() == 78
    text = file.read_text()
    assert text.endswith(last(pool)["message"] + "\n")
    assert 2000 < len(text.encode()) <= 4096
    assert not text.startswith("{")


@pytest.mark.parametrize(
    ("options", "limit", "fault"),
    [
        (["--recycle-timeout=soon", "--log-lvl=info"], 64, "--recycle-timeout 'soon': expected"),
        (["--worker-count=100"], 64, "and the limit is 64: raise it"),
    ],
    ids=["a bad value", "too few descriptors"],
)
def test_refused_settings_leave_a_termination_message_too(
    srvinit: Start, tmp_path: Path, options: list[str], limit: int, fault: str
) -> None:
    """What stands on stderr, every fault of it, and nothing is started or logged."""
    file = tmp_path / "termination-log"
    file.write_text("of the run before")
    environ = {"TERMINATION_MESSAGE_PATH": str(file)}
    limited = ["prlimit", f"--nofile={limit}"]
    pool = srvinit(*options, "--", "true", environ=environ, prefix=limited)
    assert pool.exit_status() == 2
    assert file.read_text().splitlines() == [line.removeprefix("srvinit: ") for line in pool.strays]
    assert fault in file.read_text()
    assert pool.events == []


def test_a_good_end_leaves_no_termination_message(srvinit: Start, tmp_path: Path) -> None:
    """And a file that is not there is not made, however srvinit ends."""
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.write_text("")
    pool = srvinit("-w1", NEVER, "--", "true", environ={"TERMINATION_MESSAGE_PATH": str(there)})
    assert pool.exit_status() == 0
    assert there.read_text() == ""
    pool = srvinit("-w1", NEVER, "--", "false", environ={"TERMINATION_MESSAGE_PATH": str(missing)})
    assert pool.exit_status() == 1
    assert not missing.exists()
