"""Settings and commands from all sources, as a user meets them: refused, or working."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from scenes import QUICK, at, start_talk, stop

if TYPE_CHECKING:
    from pathlib import Path

    import harness
    from scenes import Start

PLAIN = ("-w1", "--restart-policy=never")


def refused(pool: harness.Srvinit) -> list[str]:
    """Return the faults of a start that is refused: status 2, nothing started, one line each."""
    assert pool.exit_status() == 2
    assert pool.output == b""
    assert pool.lines
    assert [line for line in pool.lines if not line.startswith("srvinit: ")] == []
    return [line.removeprefix("srvinit: ") for line in pool.lines]


def executable(path: Path, says: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


# --- commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [("./x", 0, "here"), ("sub/x", 0, "below"), ("x", 127, ""), ("sub", 127, ""),
     ("./sub", 126, ""), ("./none", 127, ""), ("none", 127, ""), ("y", 0, "in PATH")],
)  # fmt: skip
def test_c49_a_command_is_found_as_a_shell_finds_it(
    srvinit: Start, tmp_path: Path, command: str, status: int, says: str
) -> None:
    """With a slash from the cwd, bare names by PATH alone; 126 for a directory, 127 for none."""
    executable(tmp_path / "x", "here")
    executable(tmp_path / "sub" / "x", "below")
    executable(tmp_path / "path" / "y", "in PATH")
    environ = {"PATH": f"{tmp_path / 'path'}:{os.environ['PATH']}"}
    pool = srvinit(*PLAIN, "--", command, pid1=True, cwd=tmp_path, environ=environ)
    assert pool.exit_status() == status
    assert pool.output.decode().strip() == says


def test_c49_without_a_path_the_usual_places_are_looked_at(srvinit: Start, tmp_path: Path) -> None:
    """PATH unset: `true` is found, and what is only in the cwd is not."""
    executable(tmp_path / "x", "here")
    unset = ("env", "-u", "PATH")
    pool = srvinit(*PLAIN, "--", "true", cwd=tmp_path, prefix=unset)
    assert pool.exit_status() == 0
    pool = srvinit(*PLAIN, "--", "x", cwd=tmp_path, prefix=unset)
    assert pool.exit_status() == 127


def test_no_command_is_refused(srvinit: Start) -> None:
    (fault,) = refused(srvinit("-w2"))
    assert "COMMAND" in fault


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["-1", "nan", "", "10 s", "1e9999", "5x", "inf", "0x10"])
@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_c50_a_bad_duration_is_refused_by_source_and_key(
    srvinit: Start, tmp_path: Path, text: str, source: str
) -> None:
    pool, named = given(srvinit, tmp_path, source, text, "--", "echo", "started")
    (fault,) = refused(pool)
    assert fault.startswith(named)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("1.5s", 1.5), ("2m", 120)])
def test_c50_a_duration_is_the_same_by_all_ways(
    srvinit: Start, tmp_path: Path, text: str, seconds: float
) -> None:
    """The log tells what was understood: the time a worker has in a shutdown."""
    for source in ("flag", "environment", "file"):
        pool, _ = given(srvinit, tmp_path, source, text, "-w1", "--", "sleep", "1000")
        pool.wait_event("srvinit.ready")
        assert stop(pool) == 0
        assert pool.found("shutdown.started")[0]["timeout_s"] == seconds


def given(
    srvinit: Start, tmp_path: Path, source: str, text: str, *arguments: str
) -> tuple[harness.Srvinit, str]:
    """Start with shutdown.timeout from that source; also return how a fault has to call it."""
    if source == "flag":
        return srvinit(f"--shutdown-timeout={text}", *arguments), "--shutdown-timeout"
    if source == "environment":
        environ = {"SRVINIT_SHUTDOWN_TIMEOUT": text}
        return srvinit(*arguments, environ=environ), "SRVINIT_SHUTDOWN_TIMEOUT"
    file = tmp_path / "srvinit.toml"
    file.write_text(f'[shutdown]\ntimeout = "{text}"\n')
    return srvinit(f"--config={file}", *arguments), f"{file}:2: shutdown.timeout"


@pytest.mark.parametrize("text", ["0", "off"])
def test_c50_an_age_of_0_is_off(srvinit: Start, text: str) -> None:
    """No worker grows old of it, jitter or not: nothing comes before the next order."""
    options = (f"--worker-max-age={text}", "--restart-reset=0", "--log-level=debug")
    pool = start_talk(srvinit, *options)
    pool.wait_event("worker.settled")
    pool.signal("TTIN")
    pool.wait_event("worker.settled", nth=2)
    assert pool.found("recycle.started") == []
    assert stop(pool) == 0


def test_the_command_line_goes_over_the_environment_over_the_file(
    srvinit: Start, tmp_path: Path
) -> None:
    file = tmp_path / "srvinit.toml"
    file.write_text("[worker]\ncount = 1\n[shutdown]\ntimeout = 1\ndelay = 0\nmargin = 3\n")
    environ = {
        "SRVINIT_CONFIG": str(file),
        "SRVINIT_WORKER_COUNT": "2",
        "SRVINIT_SHUTDOWN_TIMEOUT": "2",
    }
    pool = srvinit("-w3", "--", "sleep", "1000", pid1=True, environ=environ)
    pool.wait_event("srvinit.ready", workers=3)
    assert stop(pool) == 0
    said = pool.found("shutdown.started")[0]
    assert (said["timeout_s"], said["margin_s"]) == (2, 3)


def test_faults_of_all_sources_are_told_at_once(srvinit: Start, tmp_path: Path) -> None:
    """Unknown, bad, duplicate and misspelt: one line each, with the nearest valid name."""
    file = tmp_path / "srvinit.toml"
    file.write_text("[recycle]\ntimeot = 3\n")
    pool = srvinit(
        f"--config={file}", "--worker-count=many", "--worker-timeout=1", "--worker-timeout=2",
        "--", "true", environ={"SRVINIT_RESTART_DELY": "1"},
    )  # fmt: skip
    faults = "\n".join(refused(pool))
    assert faults.count("\n") == 3
    for part in (
        f"{file}:2: recycle.timeot",
        "recycle.timeout",
        "--worker-count",
        "--worker-timeout",
        "SRVINIT_RESTART_DELY",
        "SRVINIT_RESTART_DELAY",
    ):
        assert part in faults


def test_a_budget_that_does_not_fit_is_refused_with_its_sum(srvinit: Start) -> None:
    options = ("--shutdown-grace-period=30s", "--shutdown-delay=20s", "--shutdown-timeout=15s")
    (fault,) = refused(srvinit(*options, "--", "true"))
    assert fault.startswith(
        "shutdown.delay 20s + shutdown.timeout 15s + shutdown.margin 1s = 36s does not fit into "
        "shutdown.grace_period 30s, it is 6s too much ("
    )


def test_the_sum_of_a_budget_says_where_each_part_is_from(srvinit: Start, tmp_path: Path) -> None:
    """The platform's number in the environment, the file's delay, a flag: who is to give way."""
    file = tmp_path / "srvinit.toml"
    file.write_text("[shutdown]\ndelay = '20s'\n")
    environ = {"SRVINIT_SHUTDOWN_GRACE_PERIOD": "20s"}
    pool = srvinit(f"-c{file}", "--shutdown-margin=500ms", "--", "true", environ=environ)
    (fault,) = refused(pool)
    assert fault == (
        "shutdown.delay 20s + shutdown.margin 500ms = 20.5s leaves no time to stop workers in "
        f"shutdown.grace_period 20s (shutdown.delay: {file}:2: shutdown.delay, shutdown.margin: "
        "--shutdown-margin, shutdown.grace_period: SRVINIT_SHUTDOWN_GRACE_PERIOD)"
    )


def test_a_budget_that_no_longer_fits_on_hup_keeps_the_running_one(
    srvinit: Start, tmp_path: Path
) -> None:
    """The recycle goes on, the log has the sum, and the shutdown spends the old budget."""
    file = tmp_path / "srvinit.toml"
    file.write_text("[shutdown]\ngrace_period = '20s'\n")
    pool = start_talk(srvinit, f"--config={file}")
    file.write_text("[shutdown]\ngrace_period = '20s'\ntimeout = '25s'\n")
    pool.signal("HUP")
    (fault,) = pool.wait_event("config.rejected")["faults"]
    assert "= 26s does not fit into shutdown.grace_period 20s, it is 6s too much" in fault
    pool.wait_event("recycle.finished")
    assert stop(pool) == 0
    assert pool.wait_event("shutdown.started")["timeout_s"] == 19


@pytest.mark.parametrize("what", ["missing", "directory", "syntax", "binary"])
def test_a_file_that_cannot_be_read_is_refused(srvinit: Start, tmp_path: Path, what: str) -> None:
    file = tmp_path / "srvinit.toml"
    if what == "directory":
        file.mkdir()
    elif what != "missing":
        file.write_bytes({"syntax": b"[worker\n", "binary": b"\x00\xff\xfe"}[what])
    (fault,) = refused(srvinit(f"--config={file}", "--", "true"))
    assert str(file) in fault


def test_what_kubernetes_injects_for_a_service_called_srvinit_is_left_alone(
    srvinit: Start,
) -> None:
    environ = {
        "SRVINIT_PORT": "tcp://10.0.0.1:80",
        "SRVINIT_SERVICE_HOST": "10.0.0.1",
        "SRVINIT_SERVICE_PORT": "80",
        "SRVINIT_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    pool = srvinit(*PLAIN, "--", "true", environ=environ)
    assert pool.exit_status() == 0


# --- what lies about -------------------------------------------------------------------------


def test_c48_files_beside_the_user_shadow_no_module(srvinit: Start, tmp_path: Path) -> None:
    """With `python -I`, as the frozen program is: json.py and the like in the cwd are not run."""
    for name in ("json", "signal", "structlog", "sitecustomize", "os", "tomllib", "traceback"):
        (tmp_path / f"{name}.py").write_text("open('pwned', 'w')\n")
    file = tmp_path / "srvinit.toml"
    file.write_text("[worker]\ncount = 1\n")
    run = [sys.executable, "-I", "-m", "srvinit"] if not os.environ.get("TESTED_PROGRAM") else None
    how = {"run": run} if run else {}
    environ = {"PYTHONPATH": str(tmp_path)}
    pool = srvinit(f"--config={file}", QUICK, "--", "sleep", "1000", cwd=tmp_path, environ=environ,
                   pid1=True, **how)  # fmt: skip
    pool.wait_event("srvinit.ready")
    file.write_text("[worker\n")
    pool.signal("HUP")
    pool.wait_event("config.rejected")
    pool.wait_event("recycle.finished")
    assert stop(pool) == 0
    assert not (tmp_path / "pwned").exists()


def test_the_advice_about_online_is_given_once(srvinit: Start) -> None:
    """`bind` with `online` is seldom meant: said at the start, and not at every recycle."""
    pool = start_talk(srvinit, "--bind=127.0.0.1:0")
    pool.signal("HUP")
    pool.wait_event("recycle.finished")
    assert stop(pool) == 0
    (advice,) = pool.found("srvinit.advice")
    assert "worker.require=listen" in advice["advice"]
    assert at(advice) <= at(pool.found("worker.ready")[0])
