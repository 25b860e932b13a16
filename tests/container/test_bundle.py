"""dist/srvinit itself: its size, what it is made of, and that each build makes the same."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build" / "freeze"
LARGEST_BYTES = 15_000_000

# Before the first worker's exec nothing else may be imported: DESIGN, the first fifteen ms.
EARLY = {
    "_frozen_importlib", "_imp", "_thread", "_warnings", "_weakref", "_io", "marshal", "posix",
    "_frozen_importlib_external", "time", "zipimport", "_codecs", "codecs", "encodings",
    "encodings.aliases", "encodings.utf_8", "_signal", "_abc", "abc", "io", "gc", "errno", "fcntl",
    "_socket", "select", "_heapq", "_stat", "_bundle",
}  # fmt: skip


def contents(bundle: Path) -> dict[str, tuple[str, int]]:
    """Return digest and mode of every file."""
    return {
        str(path.relative_to(bundle)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode,
        )
        for path in bundle.rglob("*")
        if path.is_file()
    }


def test_it_is_small(bundle: Path) -> None:
    """Everything included: Python, the loader, the C library, licences."""
    assert sum(path.stat().st_size for path in bundle.rglob("*")) <= LARGEST_BYTES


def test_two_builds_make_the_same(bundle: Path, tmp_path: Path) -> None:
    """From another directory, at another time, with another hash seed and umask."""
    for name in ("srvinit", "packaging"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "venv").symlink_to(WORK / "venv")
    [python] = re.findall(r"^home = (.+)$", (WORK / "venv/pyvenv.cfg").read_text(), re.MULTILINE)
    freeze = [f"{python}/python3", "packaging/freeze.py", "--output=out", "--work=work"]
    environ = os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"}

    subprocess.run(freeze, cwd=tmp_path, env=environ, check=True, capture_output=True, umask=0o077)

    assert contents(tmp_path / "out") == contents(bundle)


def test_bill_and_licences_name_what_is_in_it(bundle: Path) -> None:
    """The CycloneDX file lists each library, and the licence of each lies beside."""
    bill = json.loads((bundle / "sbom.cdx.json").read_text())
    listed = {one["name"] for one in bill["components"]}
    licences = {path.name for path in (bundle / "licenses").iterdir()}

    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "srvinit"
    assert {
        "cpython",
        "structlog",
        "h11",
        "prometheus_client",
        "libc6",
        "musl-dev",
        "zlib1g-dev",
    } <= listed
    assert all(one["version"] for one in bill["components"])
    for name in listed - {"cpython"}:  # its licences are in its Debian package's
        assert [kept for kept in licences if kept.startswith(name)], name
    assert any(name.startswith("libpython3") for name in licences)


def test_the_way_to_the_first_exec_imports_nothing_slow(bundle: Path) -> None:
    """Said by a build that tells its imports; srvinit.report.late begins the time after it."""
    assert bundle
    command = [WORK / "verbose/srvinit", "-w1", "--restart-policy=never", "--", "/bin/true"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    told = re.findall(r"^import '?([\w.]+)'? #", done.stderr, re.MULTILINE)
    later = min(told.index(name) for name in ("_ctypes", "srvinit.report.late") if name in told)
    assert "structlog" in told[later:]
    early = [name for name in told[:later] if not name.startswith("srvinit")]
    assert set(early) <= EARLY, set(early) - EARLY


def test_no_import_of_srvinit_is_missing(bundle: Path) -> None:
    """C47: whatever srvinit imports, be it in a function that runs once in a year, is there."""
    extensions = bundle / "_internal" / "lib-dynload"
    script = Path(__file__).with_name("imports_of.py")
    command = [WORK / "venv/bin/python", script, WORK / "pyinstaller/srvinit", extensions]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert told.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
def test_no_program_of_it_needs_the_images_libraries(bundle: Path) -> None:
    """Every library that a part of it names is in it too."""
    there = {path.name for path in bundle.rglob("*")}
    for path in bundle.rglob("*"):
        if path.is_file() and path.read_bytes()[:4] == b"\x7fELF":
            read = subprocess.run(
                ["readelf", "-d", path], check=True, capture_output=True, text=True
            )
            needed = re.findall(r"\(NEEDED\).*\[(.+)\]", read.stdout)
            assert set(needed) <= there, path
