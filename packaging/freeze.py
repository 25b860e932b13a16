"""`make freeze`: build dist/srvinit, the directory that is /opt/srvinit in an image.

    packaging/freeze.py [--prefix /opt/srvinit] [--output dist/srvinit] [--work build/freeze]

The Python 3.11 or later that runs this is the one that is frozen, so it needs its static library
(Debian: libpython3.11-dev). Needs gcc, musl-gcc (musl-tools) and binutils. The prefix is fixed at
build: a program's loader is found by its absolute path.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import linking

PACKAGING = Path(__file__).resolve().parent
ROOT = PACKAGING.parent
# What is started: each a launcher of the one frozen program, which looks at its own name.
NAMES = ["srvinit", "srvinitctl"]
PROGRAM = "srvinit"
LARGEST_BYTES = 15_000_000
# Of every file: a build date would be a difference between two builds.
EPOCH = 315_532_800  # 1980, the earliest that zip knows


def main() -> int:
    """Build, check the size, and say what it has become."""
    parser = argparse.ArgumentParser(description="Freeze srvinit.")
    parser.add_argument("--prefix", default="/opt/srvinit", help="where the bundle will lie")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "srvinit")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "freeze")
    parser.add_argument("--only-venv", action="store_true", help="make what it is made with")
    options = parser.parse_args()
    for name in ("gcc", "musl-gcc", "strip", "objcopy"):
        if shutil.which(name) is None:
            sys.exit(f"freeze: {name} is missing (Debian: gcc, musl-tools, binutils)")
    if not linking.static_python().exists():
        sys.exit(f"freeze: {linking.static_python()} is missing (Debian: libpython3.11-dev)")
    output, work = options.output.resolve(), options.work.resolve()
    python = make_venv(work / "venv")
    if options.only_venv:
        return 0
    run_pyinstaller(python, work, options.prefix)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    inner = output / "_internal"
    shutil.copytree(work / "dist" / "_internal", inner)
    for name in NAMES:
        compile_launcher(output / name, name, options.prefix)
    found = add_libraries(inner)
    link_verbose(work, inner)
    subprocess.run(
        [python, PACKAGING / "materials.py", output, *(f"{k}={v}" for k, v in found.items())],
        check=True,
    )
    settle(output)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{output}: {size / 1e6:.1f} MB for {options.prefix}, sha256 of all: {digest(output)}")
    return int(size > LARGEST_BYTES)


def make_venv(folder: Path) -> Path:
    """Make the venv that PyInstaller runs in, unless it is there for these requirements."""
    python, stamp = folder / "bin" / "python", folder / "requirements"
    wanted = f"{sys.version}\n{(PACKAGING / 'requirements.txt').read_text()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        base = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
        subprocess.run([base, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", PACKAGING / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    return python


def run_pyinstaller(python: Path, work: Path, prefix: str) -> None:
    """Have PyInstaller fill work/dist/_internal; the same input gives the same files."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    environ |= {
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "PYTHONHASHSEED": "0",
        # Columns within a line take a fifth of the compiled code, and as much of its loading.
        "PYTHONNODEBUGRANGES": "1",
        "PYINSTALLER_CONFIG_DIR": str(work / "cache"),
        "BUNDLE_PREFIX": prefix,
    }
    shutil.rmtree(work / "dist", ignore_errors=True)
    folders = ["--distpath", work / "dist", "--workpath", work / "pyinstaller"]
    command = [python, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level=WARN", *folders]
    subprocess.run([*command, PACKAGING / "srvinit.spec"], check=True, env=environ, cwd=work)


def add_libraries(inner: Path) -> dict[str, Path]:
    """Copy the loader, the C library and what else is still taken from this machine.

    Returns where each library of the bundle comes from, by name.
    """
    found: dict[str, Path] = {}
    for path in [inner / PROGRAM, *sorted(inner.rglob("*.so*"))]:
        for line in output_of("ldd", path).splitlines():
            name, _, place = line.strip().partition(" => ")
            place = (place or name).rpartition(" (")[0]
            if place.startswith("/"):
                found[Path(name.rpartition(" (")[0] or name).name] = Path(place)
    for name, source in found.items():
        if not (inner / name).exists():
            shutil.copyfile(source, inner / name)
            (inner / name).chmod(0o755)
    return dict(sorted(found.items())) | {one.name: one for one in linking.static_libraries()}


def link_verbose(work: Path, inner: Path) -> None:
    """Link what is not shipped: it tells what it imports, for tests/container/test_bundle.py."""
    folder = work / "verbose"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "_internal").symlink_to(inner)
    linking.link(folder / "srvinit", work / "pyinstaller" / "srvinit", str(folder), verbose=True)


def compile_launcher(path: Path, name: str, prefix: str) -> None:
    """Compile what the user starts: static, 14 kB."""
    flags = ["-std=gnu11", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror"]
    defined = [f'-DPREFIX="{prefix}"', f'-DNAME="{name}"']
    source = PACKAGING / "launcher.c"
    subprocess.run(["musl-gcc", *flags, *defined, "-o", path, source], check=True)


def settle(folder: Path) -> None:
    """Give every file the mode and the time it has in every build."""
    for path in [*folder.rglob("*"), folder]:
        is_program = path.is_dir() or path.read_bytes()[:4] == b"\x7fELF"
        path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (EPOCH, EPOCH))


def digest(folder: Path) -> str:
    """Return one sha256 of all names, modes and contents in a directory."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        kept = path.read_bytes() if path.is_file() else b""
        one = hashlib.sha256(kept).hexdigest()
        whole.update(f"{path.relative_to(folder)} {path.stat().st_mode:o} {one}\n".encode())
    return whole.hexdigest()


def output_of(*command: str | Path) -> str:
    """Run a program and return what it says."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
