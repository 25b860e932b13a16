"""In an image of any kind, srvinit is PID 1, serves, recycles, replaces, reaps and stops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from load import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine import Container, Docker

SERVE = ["--bind=:8080", "--worker-require=listen", "--worker-timeout=30s"]
SERVER = "/srv/server"


@pytest.fixture
def serve(run: Callable[..., Container], image: str) -> Callable[..., tuple[Container, int]]:
    """Run srvinit with the worker of the base; return the container and its port, once ready."""

    def start(*settings: str, docker: tuple[str, ...] = ()) -> tuple[Container, int]:
        port = harness.free_port()
        published = f"--publish=127.0.0.1:{port}:8080"
        container = run(published, *docker, image, *SERVE, *settings, "--", SERVER)
        container.wait_event("srvinit.ready")
        return container, port

    return start


def test_version_and_a_program_of_the_image(docker: Docker, image: str) -> None:
    """C46: the image's own ls runs, whatever C library it has."""
    assert docker.run("run", "--rm", image, "--version").stdout.startswith("srvinit ")
    listed = docker.run(
        "run", "--rm", image, "-w1", "--restart-policy=never", "--", "/bin/ls", "/opt/srvinit"
    )
    assert "srvinit" in listed.stdout.split()


def test_srvinit_is_pid_1(serve: Callable[..., tuple[Container, int]]) -> None:
    """The process the engine started is srvinit, and its children are the workers."""
    container, port = serve("--worker-count=2")

    assert proc.status_field(container.pid, "Name") == "srvinit"
    assert proc.status_field(container.pid, "NSpid").split()[-1] == "1"
    workers = proc.children(container.pid)
    assert len(workers) == 2
    inside = {proc.status_field(pid, "NSpid").split()[-1] for pid in workers}
    assert harness.ask(port).decode().strip() in inside


def test_hup_under_load_loses_nothing(serve: Callable[..., tuple[Container, int]]) -> None:
    """`docker kill -s HUP` replaces every worker, and no request goes unanswered."""
    container, port = serve("--worker-count=2", "--recycle-settle=200ms")
    old = proc.children(container.pid)

    with Load(port, new=8, rate=400, timeout=10) as load:
        load.wait_requests(200)
        container.signal("HUP")
        container.wait_event("recycle.finished", 30)
        load.wait_requests(200)
        figures = load.stop()

    assert figures["new"]["lost"] == 0, figures["losses"]
    assert not set(old) & set(proc.children(container.pid))


def test_stop_is_done_within_its_time(serve: Callable[..., tuple[Container, int]]) -> None:
    """`docker stop` ends with 0, long before Docker would kill."""
    container, _ = serve("--worker-count=2", "--shutdown-grace-period=10s")
    began = time.monotonic()

    assert container.stop(timeout_s=10) == 0
    assert time.monotonic() - began < 5
    assert container.events[-1]["event"] == "srvinit.exiting"


def test_crash_is_replaced_and_nothing_stays_a_zombie(
    serve: Callable[..., tuple[Container, int]],
) -> None:
    """A worker that ends with 3 is followed by another, and orphans are reaped."""
    container, port = serve("--worker-count=2", "--restart-delay=50ms")

    for _ in range(5):
        harness.ask(port, path="/orphan")
    with pytest.raises(OSError, match=r"no answer|reset"):
        harness.ask(port, path="/crash")

    crashed = container.wait_event("worker.exited", reason="exit 3")
    container.wait_event("worker.ready", nth=3)
    assert harness.ask(port)
    proc.wait_until(
        lambda: "Z" not in container.processes().values(), 5, "all orphans to be reaped"
    )
    assert len(proc.children(container.pid)) == 2
    assert crashed["level"] in {"warning", "error"}


def test_worker_out_of_memory_is_named_in_the_log(
    serve: Callable[..., tuple[Container, int]],
) -> None:
    """The kernel kills the worker for the container's limit: srvinit lives and says who it was."""
    limits = ("--memory=64m", "--memory-swap=64m")
    container, port = serve("--worker-count=2", "--restart-delay=50ms", docker=limits)

    with pytest.raises(OSError, match=r"no answer|reset"):
        harness.ask(port, path="/hog", within=30)

    killed = container.wait_event("worker.exited")
    assert killed["reason"].startswith("killed by the kernel: out of memory (limit 64 MiB")
    container.wait_event("worker.ready", nth=3)
    assert harness.ask(port)


HARDENED = (
    "--user=123456:0",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--env=TMPDIR=/nonexistent",
)


def test_without_any_privilege_nothing_is_written(
    serve: Callable[..., tuple[Container, int]],
) -> None:
    """C36, C45: a user without a passwd entry, no capability, a read-only root without tmpfs."""
    container, port = serve("--worker-count=2", "--recycle-settle=50ms", docker=HARDENED)

    assert harness.ask(port)
    assert proc.status_field(container.pid, "Uid").split()[0] == "123456"
    container.signal("HUP")
    container.wait_event("recycle.finished")
    assert container.stop() == 0


def test_diff_stays_empty(serve: Callable[..., tuple[Container, int]]) -> None:
    """C45: start, recycle and stop leave the image as it was."""
    container, _ = serve("--worker-count=2", "--recycle-settle=50ms")

    container.signal("HUP")
    container.wait_event("recycle.finished")
    assert container.changes() == []
    assert container.stop() == 0
    assert container.changes() == []


def test_probes_and_metrics_answer_without_any_privilege(
    serve: Callable[..., tuple[Container, int]],
) -> None:
    """C47: and nothing that they need is missing from the bundle."""
    probes = harness.free_port()
    published = f"--publish=127.0.0.1:{probes}:9090"
    container, _ = serve("--worker-count=2", "--http=:9090", docker=(published, *HARDENED))
    container.wait_event("endpoint.started")

    assert harness.ask(probes, path="/livez") == b"srvinit lives, and is serving\n"
    assert harness.ask(probes, path="/readyz") == b"2 of 2 workers serve\n"
    assert b"\nsrvinit_workers_wanted 2.0\n" in harness.ask(probes, path="/metrics")
    assert b'"count": 2' in harness.ask(probes, path="/status")
    assert container.stop() == 0
