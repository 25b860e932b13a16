"""Fixtures: a cluster, an image with srvinit on its node, releases of the chart."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kube as kubes
import pytest
from layers import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "container"))

import bases  # noqa: E402  a module of tests/container
import frozen  # noqa: E402  likewise

#: What each test changes a little: quick, and small enough for the tests' machine.
VALUES: dict[str, Any] = {
    "image": {"repository": "test/server", "tag": "1"},
    "command": ["/srv/server"],
    "replicas": 1,
    "settings": {
        "worker": {"count": 2},
        "recycle": {"settle": "200ms"},
        "shutdown": {"delay": "2s"},
    },
    "terminationGracePeriodSeconds": 20,
    "probes": {"startup": {"periodSeconds": 1}, "readiness": {"periodSeconds": 1}},
}


@pytest.fixture(scope="session")
def kube() -> Iterator[kubes.Kube]:
    """Start the cluster, unless it is up."""
    with kubes.Kube() as cluster:
        kubes.image(cluster, "test/server:1", bases.busybox, frozen.bundle())
        yield cluster


@pytest.fixture(scope="session")
def tester(kube: kubes.Kube) -> str:
    """Return the image for the pods of `helm test`: a small Debian with a wget."""
    with tempfile.TemporaryDirectory() as made:
        shutil.copy(bases.debootstrapped("bookworm"), f"{made}/debian.tar")
        shutil.copy(HERE / "wget.sh", f"{made}/wget")
        lines = ["FROM scratch", "ADD debian.tar /", "COPY wget /usr/bin/wget"]
        Path(made, "Dockerfile").write_text("\n".join(lines))
        kube.load("test/tester:1", Path(made))
    return "test/tester:1"


@pytest.fixture(scope="session")
def plain_images(kube: kubes.Kube) -> tuple[str, str]:
    """Return an image that lacks srvinit, and srvinit's own, which has nothing else."""
    kubes.image(kube, "test/plain:1", bases.busybox)
    kubes.image(kube, "test/srvinit:1", bundle=frozen.bundle())
    return "test/plain:1", "test/srvinit:1"


@pytest.fixture
def release(kube: kubes.Kube) -> Iterator[Callable[..., kubes.Release]]:
    """Install the chart with VALUES and some more; uninstall it at the end."""
    with contextlib.ExitStack() as stack:

        def install(name: str, *more: dict[str, Any]) -> kubes.Release:
            return stack.enter_context(kubes.Release(kube, name, merged(VALUES, *more)))

        yield install


@pytest.fixture
def follow(kube: kubes.Kube) -> Iterator[Callable[[str], kubes.Log]]:
    """Follow the log of a pod."""
    with contextlib.ExitStack() as stack:

        def start(pod: str) -> kubes.Log:
            return stack.enter_context(kubes.Log(kube, pod))

        yield start
