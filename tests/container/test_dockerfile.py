"""The Dockerfile, built with BuildKit on a Debian made here in place of the registry's."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bases
import harness
import pytest
from engine import alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine import Container, Docker

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def build(docker: Docker, common: Path) -> Callable[[str], str]:
    """Build a target of the Dockerfile; return its tag."""
    if "/usr/bin/" not in docker.client and docker.run("buildx", fails=True).returncode != 0:
        harness.missing("a client of Docker that can use BuildKit")

    def make(target: str) -> str:
        with alone(common / "images"):
            base = bases.userland(docker, "debian")
        arguments = [f"--build-arg=BUILDER={base}", f"--build-arg=DEMO={base}", "--network=host"]
        tag = ["--tag", f"built-{target}", "--target", target]
        docker.run("build", *arguments, *tag, str(ROOT), DOCKER_BUILDKIT="1")
        return f"built-{target}"

    return make


def config(docker: Docker, image: str) -> dict[str, Any]:
    """Return what an image says about itself."""
    [said] = docker.lines("image", "inspect", "--format", "{{json .Config}}", image)
    return dict(json.loads(said))


def test_the_bundle_is_all_there_is(
    docker: Docker, build: Callable[[str], str], tmp_path: Path
) -> None:
    """FROM scratch: /opt/srvinit, its licences within, and it runs."""
    image = build("bundle")
    [container] = docker.lines("create", image)
    docker.run("export", "--output", str(tmp_path / "all.tar"), container)
    docker.run("rm", container)
    with tarfile.open(tmp_path / "all.tar") as whole:
        files = [one.name for one in whole.getmembers() if one.isfile()]

    ours = [name for name in files if name.startswith("opt/srvinit/")]
    engines_own = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"}
    assert set(files) - set(ours) <= engines_own
    assert "opt/srvinit/licenses/srvinit" in ours
    assert docker.run("run", "--rm", image, "--version").stdout.startswith("srvinit ")


def test_users_are_numbers_and_labels_are_there(
    docker: Docker, build: Callable[[str], str]
) -> None:
    """C36: Kubernetes' runAsNonRoot refuses names."""
    for target in ("bundle", "demo"):
        said = config(docker, build(target))
        assert all(part.isdecimal() for part in said["User"].split(":")), said["User"]
        assert said["Labels"]["org.opencontainers.image.licenses"] == "MIT"
        assert said["Labels"]["org.opencontainers.image.title"].startswith("srvinit")


def test_the_demo_serves_recycles_and_stops(
    run: Callable[..., Container], build: Callable[[str], str]
) -> None:
    """A real server, under all restrictions at once."""
    port = harness.free_port()
    harden = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    container = run(f"--publish=127.0.0.1:{port}:8080", *harden, build("demo"))
    container.wait_event("srvinit.ready", 60)

    assert json.loads(harness.ask(port))["generation"] == "1"
    container.signal("HUP")
    container.wait_event("recycle.finished", 90)
    assert json.loads(harness.ask(port))["generation"] == "2"
    assert container.changes() == []
    assert container.stop() == 0


def test_the_context_is_what_the_build_needs(docker: Docker, tmp_path: Path) -> None:
    """.dockerignore lets nothing through that would make the image anew without need."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    docker.run("build", "--tag=context", "--file", str(dockerfile), str(ROOT), DOCKER_BUILDKIT="1")
    [container] = docker.lines("create", "context", "/x")
    packed = subprocess.run(
        [docker.client, "export", container], check=True, capture_output=True, env=docker.environ
    )
    listed = subprocess.run(["tar", "-t"], input=packed.stdout, check=True, capture_output=True)
    files = {name for name in listed.stdout.decode().split() if not name.endswith("/")}
    made = {one for one in files if one.startswith(("LICENSE", "packaging/", "srvinit/", "demo/"))}
    assert {"LICENSE", "packaging/freeze.py", "srvinit/__main__.py", "demo/app.py"} <= made
    assert not [one for one in files if "__pycache__" in one or one.startswith(("tests", ".git"))]
