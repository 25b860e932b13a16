"""What recipes are made with: which version of it is there, and what has to be built first.

Whoever asks for what is not there has its test skipped, and failed in CI and `make interop`.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import readme
from kind import SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where tests/interop/install.sh puts what comes from npm, and Debian what is written in Java.
NODE_MODULES = readme.ROOT / "build/interop/node/node_modules"
JARS = Path("/usr/share/java")


def python() -> str:
    """Tell the version of the interpreter that runs the tests, and the workers."""
    return sys.version.split()[0]


def package(*names: str) -> Callable[[], str]:
    """Tell the versions of Python packages."""

    def version() -> str:
        try:
            return ", ".join(importlib.metadata.version(name) for name in names)
        except importlib.metadata.PackageNotFoundError as error:
            harness.missing(str(error))

    return version


def says(*command: str) -> Callable[[], str]:
    """Tell the first number with dots in what a program says about its version."""

    def version() -> str:
        found = [harness.program(command[0]), *command[1:]]
        said = subprocess.run(found, check=False, capture_output=True, text=True, timeout=60)
        number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        if said.returncode or not number:
            harness.missing(" ".join(command))
        return number[0]

    return version


def node_module(name: str) -> Callable[[], str]:
    """Tell the version of what npm has installed."""

    def version() -> str:
        file = NODE_MODULES / name / "package.json"
        if not file.exists():
            harness.missing(f"{name} of npm")
        return str(json.loads(file.read_text())["version"])

    return version


def jar(name: str) -> Callable[[], str]:
    """Tell the version of a library that is written in Java: Debian has a file of that name."""

    def version() -> str:
        found = [
            re.search(r"-(\d+(\.\d+)+)", path.name) for path in JARS.glob(f"{name}-[0-9]*.jar")
        ]
        if not (JARS / f"{name}.jar").exists() or not found or not found[0]:
            harness.missing(name)
        return found[0][1]

    return version


def go(folder: Path) -> None:
    """Build main.go, with the standard library alone and no network."""
    environ = {"GO111MODULE": "off", "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    build = [harness.program("go"), "build", "-o", str(folder / "server"), str(SERVERS / "main.go")]
    subprocess.run(build, check=True, env=harness.clean_environ() | environ, timeout=300)


def java(source: str, *jars: str) -> Callable[[Path], None]:
    """Compile a program, and put the libraries that it needs into lib/."""

    def build(folder: Path) -> None:
        (folder / "lib").mkdir()
        for name in jars:
            (folder / f"lib/{name}.jar").symlink_to(JARS / f"{name}.jar")
        compiler = [harness.program("javac"), "-cp", f"{folder}/lib/*", "-d", str(folder)]
        environ = harness.clean_environ()
        subprocess.run([*compiler, str(SERVERS / source)], check=True, env=environ, timeout=300)

    return build


def php_fpm(folder: Path) -> None:
    """Have php-fpm called that, as outside Debian."""
    (folder / "bin").mkdir()
    (folder / "bin/php-fpm").symlink_to(harness.program(PHP_FPM))


PHP_FPM = "php-fpm8.2"
