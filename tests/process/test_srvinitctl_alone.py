"""The commands of srvinitctl that ask no srvinit: `check` and `timeline`, as a user runs them."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import pytest
from asking import CTL
from scenes import start_web, stop

if TYPE_CHECKING:
    from scenes import Start

RECORDED = Path(__file__).parents[1] / "unit/recorded/timeline"
WITHIN_S = 60.0


def ctl(*words: str, environ: dict[str, str] | None = None, **how: Any) -> tuple[int, str, str]:
    done = subprocess.run(
        [*CTL, *words],
        env=harness.clean_environ() | (environ or {}),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        **({"stdin": subprocess.DEVNULL} | how),
    )
    return done.returncode, done.stdout, done.stderr


# --- check ---------------------------------------------------------------------------------------


def test_check_starts_and_binds_nothing(tmp_path: Path) -> None:
    """The address is taken already, and the command would leave a trace: neither is noticed."""
    made = tmp_path / "made"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        status, out, error = ctl("check", "-b", bind, "--", "touch", str(made))
    assert (status, error) == (0, "")
    assert "A shutdown, from SIGTERM on: 4 workers" in out
    assert "\nwarning: worker.require=online" in out
    assert not made.exists()


def test_check_refuses_with_srvinits_own_lines(srvinit: Start, tmp_path: Path) -> None:
    file = tmp_path / "srvinit.toml"
    file.write_text("[shutdown]\ngrace_period = 10\ntimeout = '10s'\n[worker]\nrequier = 'x'\n")
    environ = {"SRVINIT_RESTART_DELY": "3s"}
    options = (f"--config={file}", "--worker-watchdog=3s")
    pool = srvinit(*options, "--", "true", environ=environ)
    assert pool.exit_status() == 2

    status, out, error = ctl("check", *options, environ=environ)

    assert (status, out) == (2, "")
    assert error.splitlines() == pool.lines
    assert len(pool.lines) >= 4


# --- timeline ------------------------------------------------------------------------------------


def test_timeline_draws_each_worker_of_a_run_just_made(srvinit: Start, tmp_path: Path) -> None:
    """A crash, a recycle and a stop, workers' own words between the lines."""
    pool = start_web(srvinit, "-w2", "--restart-delay=100ms")
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_event("worker.ready", nth=3, within=30)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    assert stop(pool) == 0
    log = tmp_path / "web.log"
    log.write_text("\n".join(f"[pod/web-1/web] {line}" for line in pool.lines))

    status, out, error = ctl("timeline", "--svg", str(log))

    assert (status, error) == (0, "")
    drawn = [int(pid) for pid in re.findall(r'class="life g\d" [^>]*data-pid="(\d+)"', out)]
    assert sorted(drawn) == sorted(event["pid"] for event in pool.found("worker.started"))
    assert out.count('data-end="crashed"') == 1
    assert 'data-kind="recycle"' in out
    assert 'data-pod="web-1/web"' in out


def loop(count: int) -> str:
    """Return the log of a program that ends at once, of `count` lines."""
    template = '{{"timestamp": "2026-11-25T{:02d}:{:02d}:{:02d}.{:06d}Z", "level": "info", "event"'
    template += ': "worker.{}", "message": "worker {} (pid {}) {}", "slot": {}, "pid": {}, {}}}\n'
    lines = []
    for number in range(count // 2):
        micro = 1_000_000 + number * 9000
        for event, more in (
            ("started", '"generation": 1, "why": "crash"'),
            ("exited", '"generation": 1, "status": 1, "asked": false, "lived_s": 0.004'),
        ):
            second, rest = divmod(micro, 1_000_000)
            clock = (second // 3600, second // 60 % 60, second % 60, rest)
            slot = number % 8
            lines.append(template.format(*clock, event, slot, number, event, slot, number, more))
            micro += 4000
    return "".join(lines)


def test_a_hundred_thousand_lines_are_drawn_in_a_moment(tmp_path: Path) -> None:
    """50,000 lives on some 1,100 pixels: drawn together, as many as there are."""
    log = tmp_path / "loop.log"
    log.write_text(loop(100_000))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    status, out, error = ctl("timeline", "--svg", str(log))

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert (status, error) == (0, "")
    assert took < 12, "three seconds of CPU on the machine where it was written"
    assert len(out) < 1_000_000
    assert sum(map(int, re.findall(r'data-lives="(\d+)"', out))) == 50_000


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    # several times what a pipe holds, so that writing goes on when nobody reads any more
    lines = [
        f"web-{number} | {line}\n"
        for number in range(20)
        for line in (RECORDED / "story.log").read_text().splitlines()
    ]
    log = tmp_path / "pods.log"
    log.write_text("".join(lines))
    words = [*CTL, "timeline", str(log)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(WITHIN_S) == 0


def test_a_page_is_not_poured_over_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*CTL, "timeline", str(RECORDED / "kill.log")],
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert done.returncode == 1
        assert "write it to a file, as with -o web.html" in done.stderr
        status, _, error = ctl("timeline", stdin=theirs)
        assert status == 1
        assert "name a file, or pipe a log in" in error
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("module", ["srvinit.checking", "srvinit.report.timeline.command"])
def test_nothing_heavy_is_imported_for_it(module: str) -> None:
    """Nor anything that the frozen program is without."""
    heavy = "structlog html hashlib pathlib subprocess email asyncio"
    code = f"import sys, {module}; print([m for m in {heavy.split()} if m in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


def test_help_names_both() -> None:
    for name in ("check", "timeline"):
        assert f"  {name} " in ctl("--help")[1]
        assert ctl(name, "--help")[1].startswith(f"srvinitctl {name} ")
