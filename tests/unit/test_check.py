"""`srvinitctl check`: the settings as srvinit would have them, told of and nothing started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from srvinit import checking, cli
from srvinit.options import Options

if TYPE_CHECKING:
    from pathlib import Path

GOOD = ["-w2", "--bind=:8080", "--worker-require=listen", "--worker-timeout=30s"]
BUDGET = ["--shutdown-grace-period=30s", "--shutdown-delay=5s"]


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.posix, "environ", {b"PATH": b"/usr/bin:/bin"})


def check(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = checking.main(list(arguments))
    said = capfd.readouterr()
    return status, said.out, said.err


def test_good_settings_are_drawn_and_summed(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = check(capfd, *GOOD, *BUDGET, "--", "true")

    assert (status, err) == (0, "")
    assert "shutdown.delay 5s + shutdown.timeout 24s + shutdown.margin 1s = 30s of " in out
    assert "shutdown.grace_period 30s: nothing is left over" in out
    assert "2 x (30 s + 1 s + 15 s) = 92 s at most, 1 at a time; 2 s where" in out


def test_warnings_leave_the_status_0(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = check(capfd, "-b", ":8080")
    assert status == 0
    assert out.count("\nwarning: ") >= 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bogus"],
        ["--shutdown-grace-period=20s", "--shutdown-delay=10s", "--shutdown-timeout=15s"],
        ["--shutdown-grace-period=5s", "--shutdown-delay=5s"],
        ["--worker-watchdog=3s", "-w0", "--worker-require=listen"],
        ["--config=/no/such/file"],
        ["-w9999"],  # more descriptors than there are
        ["--worker-count"],
    ],
)
def test_what_srvinit_refuses_is_refused_with_the_same_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("srvinit.kernel.descriptors.limit", lambda: 1024)
    status, out, err = check(capfd, *arguments, "--", "true")
    assert (status, out) == (2, "")
    assert check(capfd, *arguments) == (status, out, err), "with or without a command"

    assert cli.main([*arguments, "--", "true"], set()) == 2
    assert capfd.readouterr().err == err


def test_settings_come_from_every_source(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "srvinit.toml"
    file.write_text('[shutdown]\ngrace_period = "40s"\ndelay = "7s"\n')
    environ = {b"SRVINIT_SHUTDOWN_DELAY": b"8s", b"SRVINIT_CONFIG": str(file).encode()}
    monkeypatch.setattr(cli.posix, "environ", environ)

    _, out, _ = check(capfd, "--shutdown-margin=2s")

    assert "delay 8s + shutdown.timeout 30s + shutdown.margin 2s = 40s" in out


def test_c51_no_secret_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    secret = ["--worker-env=TOKEN=s3cr3t", "--", "sh", "-c", "sleep 9", "--password=hunter2"]
    for arguments in (secret, ["--bogus", *secret]):
        _, out, err = check(capfd, *arguments)
        assert "s3cr3t" not in out + err
        assert "hunter2" not in out + err


@pytest.mark.parametrize(
    ("command", "is_there"),
    [("true", True), ("/bin/true", True), ("no-such-thing", False), ("/etc/passwd", False),
     ("/", False), ("a\x00b", False)],
)  # fmt: skip
def test_a_command_that_is_not_there_is_told_of(
    capfd: pytest.CaptureFixture[str], command: str, *, is_there: bool
) -> None:
    status, out, _ = check(capfd, *GOOD, *BUDGET, "--", command)
    assert status == 0
    assert ("no such command" in out) is not is_there


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert check(capfd, "--help") == (0, checking.USAGE, "")


@pytest.mark.parametrize(
    ("count", "given", "rounds", "at_once"),
    [
        (4, {}, 4, 1),
        (10, {"recycle_max_surge": "25%"}, 4, 3),
        (4, {"recycle_max_surge": 0, "recycle_max_unavailable": 1}, 4, 1),
        (3, {"recycle_max_surge": 10}, 1, 3),
        (4, {"bind_mode": "swapped"}, 1, 4),
    ],
)
def test_how_long_a_recycle_takes_depends_on_how_many_go_at_once(
    count: int, given: dict[str, object], rounds: int, at_once: int
) -> None:
    said = checking.recycle_sums(Options(**given), count)[0]
    assert said.startswith(f"{rounds} x (")
    assert re.search(rf" at most, {at_once} at a time", said)
