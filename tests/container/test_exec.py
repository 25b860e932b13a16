"""srvinitctl through `docker exec`: in an image of nothing, as a nameless user, root read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import proc
import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from engine import Container, Docker

CTL = "/opt/srvinit/srvinitctl"
SERVE = ["-w2", "--bind=:8080", "--worker-require=listen", "--worker-timeout=30s"]
HARDENED = ["--read-only", "--cap-drop=ALL", "--user=123456:0", "--security-opt=no-new-privileges"]


@pytest.fixture
def hardened(
    run: Callable[..., Container], make_image: Callable[[str], str], docker: Docker
) -> tuple[Container, Callable[..., subprocess.CompletedProcess[str]]]:
    """Run srvinit as strictly as Pod Security has it; return it, and what execs in it."""
    container = run(
        *HARDENED, make_image("busybox"), *SERVE, "--recycle-settle=100ms", "--", "/srv/server"
    )

    def ctl(*words: str, user: str = "123456:0") -> subprocess.CompletedProcess[str]:
        return docker.run("exec", f"--user={user}", container.name, CTL, *words, fails=True)

    container.wait_event("srvinit.ready")
    proc.wait_until(lambda: ctl("ready").returncode == 0, 20, "a status")
    return container, ctl


def test_every_command_works_in_a_hardened_container(
    hardened: tuple[Container, Callable[..., subprocess.CompletedProcess[str]]],
) -> None:
    container, ctl = hardened

    said = [
        ctl(*words.split()) for words in ("live", "status", "scale 3", "recycle --wait", "ready")
    ]
    assert [one.returncode for one in said] == [0] * 5, said
    assert said[-1].stdout == "ready: 3 of 3 workers serve\n"
    assert len(said[1].stdout.splitlines()[-2:]) == 2
    assert ctl("recycle", "--help").returncode == 0

    # PID 1 may end, and everyone of its namespace with it, before the exec has
    assert ctl("stop").returncode in {0, 137}
    assert container.exit_status() == 0
    assert container.wait_event("recycle.finished")["generation"] == 2


def test_an_exec_as_another_user_is_told_so(
    hardened: tuple[Container, Callable[..., subprocess.CompletedProcess[str]]],
) -> None:
    """Root without capabilities is another user, too."""
    _, ctl = hardened

    other = ctl("ready", user="7:7")

    assert other.returncode == 1
    assert other.stderr == (
        "srvinitctl: process 1 belongs to user 123456, and this is user 7: run as the same user\n"
    )


def test_the_environment_of_an_exec_harms_nothing(
    docker: Docker, hardened: tuple[Container, Callable[..., subprocess.CompletedProcess[str]]]
) -> None:
    """What the image means for its own C library and Python is hidden from ours, as for srvinit."""
    container, _ = hardened
    hostile = ["--env=LD_PRELOAD=/none.so", "--env=PYTHONHOME=/none", "--env=LC_ALL=xx_XX"]

    said = docker.run("exec", *hostile, container.name, CTL, "status", "--json", fails=True)

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith('{"schema": 1, "pid": 1, "live": true, "ready": true, ')
