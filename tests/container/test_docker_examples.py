"""The README's examples for Docker: its flags are used, its compose file is read by compose."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import harness
import readme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine import Container


def test_the_flags_of_docker_run_are_accepted_and_kept(
    run: Callable[..., Container], make_image: Callable[[str], str]
) -> None:
    """What --stop-timeout gives srvinit is told, and used up by nobody: it ends with 0."""
    words = shlex.split(readme.block("sh", "--stop-timeout").replace("\\\n", " "))
    assert words[:2] == ["docker", "run"]
    assert words[-1] == "web"
    flags = ["127.0.0.1::8080" if word == "8080:8080" else word for word in words[2:-1]]
    container = run(*flags, make_image("busybox"), "-b:8080", "--worker-require=listen", "--",
                    "/srv/server")  # fmt: skip
    container.wait_event("srvinit.ready")

    assert container.inspect(".Config.StopTimeout") == 30
    assert "stop 29 s, margin 1 s" in container.wait_event("srvinit.started")["grace"]
    container.docker.run("stop", container.name)
    assert container.inspect(".State.ExitCode") == 0
    assert container.changes() == []


def test_compose_reads_the_example(tmp_path: Path) -> None:
    """Each key is known to it, and both say the same time."""
    compose = harness.program("docker-compose")
    (tmp_path / "docker-compose.yml").write_text(readme.block("yaml", "stop_grace_period"))
    told = subprocess.run(
        [compose, "config", "--no-interpolate"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert "stop_grace_period: 30s" in told.stdout
    assert "SRVINIT_SHUTDOWN_GRACE_PERIOD: 30s" in told.stdout
    assert json.dumps("/opt/srvinit/srvinitctl")[1:-1] in told.stdout
