"""Fixtures: the frozen bundle, a Docker daemon, an image per base with srvinit in it."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import bases
import frozen
import pytest
from engine import Container, Docker, alone, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the README tells users to write.
DOCKERFILE = """
FROM {base}
COPY --from=srvinit /opt/srvinit /opt/srvinit
ENTRYPOINT ["/opt/srvinit/srvinit"]
"""


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of one run of pytest have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def bundle(common: Path) -> Path:
    """Return dist/srvinit, frozen anew if a source is younger than it."""
    with alone(common / "freezing"):
        return frozen.bundle()


@pytest.fixture(scope="session")
def docker(common: Path) -> Iterator[Docker]:
    """Run a daemon of our own."""
    with shared(common) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def srvinit_image(docker: Docker, bundle: Path, common: Path) -> str:
    """Make the image that holds /opt/srvinit alone, of the bundle of this machine."""
    with alone(common / "images"), tempfile.TemporaryDirectory() as folder:
        if not docker.has("srvinit"):
            (Path(folder) / "opt").mkdir()
            subprocess.run(["cp", "-a", bundle, f"{folder}/opt/srvinit"], check=True)
            docker.import_folder(folder, "srvinit")
    return "srvinit"


@pytest.fixture(scope="session")
def make_image(docker: Docker, srvinit_image: str, common: Path) -> Callable[[str], str]:
    """Give out the image of a base with srvinit in it, made when it is first asked for."""
    assert srvinit_image

    @functools.cache
    def make(base: str) -> str:
        tag = f"test-{base}"
        with alone(common / "images"):
            if not docker.has(tag):
                docker.build(DOCKERFILE.format(base=bases.make(docker, base)), tag)
        return tag

    return make


@pytest.fixture(params=list(bases.BASES))
def image(request: pytest.FixtureRequest, make_image: Callable[[str], str]) -> str:
    """Each base in turn, with srvinit in it."""
    return make_image(request.param)


@pytest.fixture
def run(docker: Docker) -> Iterator[Callable[..., Container]]:
    """Run containers in the background (arguments: those of `docker run`), removed at the end."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Container:
            return stack.enter_context(Container(docker, *arguments))

        yield start
