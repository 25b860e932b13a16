"""The images that srvinit is copied into. No registry is asked: each is made of packages.

| name      | what it is |
| --------- | ---------- |
| `busybox` | nothing but busybox, statically linked, on scratch: no C library, no /etc |
| `musl`    | the same with musl's loader and library, and a worker linked against them: what |
|           | Alpine gives a program to run on, without Alpine's own tools (no package has them) |
| `debian`  | Debian 12 as debootstrap makes it (glibc 2.36); its worker is linked against that |
| `old`     | Debian 11 (glibc 2.31); its ls is linked against that, its worker is static |
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import engine
import harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine import Docker

HERE = Path(__file__).parent
SERVER = HERE / "server.c"
SUITES = {"debian": "bookworm", "old": "bullseye"}
FLAGS = ["-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE"]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def compiled(path: Path, compiler: str, *flags: str) -> None:
    """Compile the worker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([harness.program(compiler), *FLAGS, *flags, "-o", path, SERVER], check=True)


def busybox(folder: Path) -> None:
    """Lay out busybox and its names, and the worker."""
    source = Path(harness.program("busybox"))
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(source, binaries / "busybox")
    listed = subprocess.run([source, "--list"], check=True, capture_output=True, text=True)
    for name in set(listed.stdout.split()) - {"busybox"}:
        (binaries / name).symlink_to("busybox")
    for name in ("tmp", "proc", "dev"):
        (folder / name).mkdir()
    compiled(folder / "srv" / "server", "musl-gcc", "-static")


def musl(folder: Path) -> None:
    """Lay out busybox, musl, and a worker that is linked against it."""
    busybox(folder)
    [loader] = Path("/lib").glob("ld-musl-*.so.1")
    (folder / "lib").mkdir()
    shutil.copy(loader, folder / "lib" / loader.name)
    compiled(folder / "srv" / "server", "musl-gcc")


def debian(folder: Path) -> None:
    """Lay a worker over Debian 12."""
    compiled(folder / "srv" / "server", "gcc")


def old(folder: Path) -> None:
    """Lay a worker over Debian 11."""
    compiled(folder / "srv" / "server", "musl-gcc", "-static")


BASES: dict[str, Callable[[Path], None]] = {
    "busybox": busybox,
    "musl": musl,
    "debian": debian,
    "old": old,
}


def make(docker: Docker, name: str) -> str:
    """Make a base image, unless it is there; return its tag."""
    tag = f"base-{name}"
    if docker.has(tag):
        return tag
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        BASES[name](folder)
        if name not in SUITES:
            docker.import_folder(folder, tag)
            return tag
        userland(docker, name)
        docker.build(f"FROM userland-{name}\nCOPY . /\n", tag, folder)
    return tag


def userland(docker: Docker, name: str) -> str:
    """Make the image of a Debian, with this machine's certificates; return its tag."""
    tag = f"userland-{name}"
    if not docker.has(tag):
        with debootstrapped(SUITES[name]).open("rb") as packed:
            docker.import_tar(packed, tag, f"ENV PIP_CERT={CERTIFICATES}", 'CMD ["/bin/sh"]')
    return tag


def debootstrapped(suite: str) -> Path:
    """Make the smallest Debian of a suite, as a tar file that is kept."""
    kept = engine.cache_folder() / f"{suite}.tar"
    if kept.exists():
        return kept
    tool = harness.program("debootstrap")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        root = Path(made, "root")
        command = [tool, "--variant=minbase", "--include=ca-certificates", suite, root]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        if CERTIFICATES.exists():
            shutil.copy(CERTIFICATES, f"{root}{CERTIFICATES}")
        unfinished = kept.with_suffix(f".{os.getpid()}")
        left_out = ["--exclude=./var/cache/apt/archives/*", "--exclude=./dev/*"]
        subprocess.run(["tar", "-C", root, *left_out, "-cf", unfinished, "."], check=True)
        unfinished.rename(kept)
    return kept
