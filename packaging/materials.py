"""Say what a bundle is made of: licenses/ and sbom.cdx.json (CycloneDX), beside the program.

    materials.py BUNDLE LIBRARY=/where/it/comes/from...

Run by freeze.py in the venv that PyInstaller ran in: versions are those of what was really taken.
Libraries of the system are looked up in dpkg's database; on a system without one they are named
without version and licence.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
EPOCH = datetime(1980, 1, 1, tzinfo=UTC)
FROZEN_PACKAGES = ["structlog", "h11", "prometheus_client"]
# As SPDX names them; the texts lie in licenses/.
SPDX = {
    "structlog": "MIT OR Apache-2.0",
    "h11": "MIT",
    "prometheus_client": "Apache-2.0 AND BSD-2-Clause",
    "cpython": "PSF-2.0",
}


def main() -> None:
    """Write licences and the bill of materials into the bundle."""
    bundle, *libraries = sys.argv[1:]
    licenses = Path(bundle, "licenses")
    licenses.mkdir()
    shutil.copyfile(ROOT / "LICENSE", licenses / "srvinit")
    components = [*(of_pypi(name, licenses) for name in FROZEN_PACKAGES), of_python()]
    packages = {debian_package(Path(line.partition("=")[2])) for line in libraries}
    packages |= {
        debian_package(path) for path in Path("/usr/lib").glob("*-musl/libc.a")
    }  # launcher
    components += [of_debian(name, licenses) for name in sorted(packages - {""})]
    version = srvinit_version()
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"srvinit {version}"))
    bom.metadata.timestamp = EPOCH
    bom.metadata.component = Component(
        name="srvinit",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="srvinit",
        licenses=[DisjunctiveLicense(id="MIT")],
    )
    bom.components.update(components)
    bom.register_dependency(bom.metadata.component, components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    Path(bundle, "sbom.cdx.json").write_text(text + "\n")


def srvinit_version() -> str:
    """Read the version without importing what it is the version of."""
    for line in (ROOT / "srvinit" / "__init__.py").read_text().splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise LookupError("srvinit has no __version__")


def of_pypi(name: str, licenses: Path) -> Component:
    """Describe a package of the venv, and lay its licences beside the program."""
    package = importlib.metadata.distribution(name)
    for file in package.files or []:
        if "licenses" in file.parts:
            shutil.copyfile(Path(str(package.locate_file(file))), licenses / f"{name}-{file.name}")
    return component(name, package.version, PackageURL("pypi", None, name, package.version))


def of_python() -> Component:
    """Describe the Python that was frozen. Its licences are in its Debian package's."""
    version = platform.python_version()
    return component("cpython", version, PackageURL("generic", None, "cpython", version))


def of_debian(name: str, licenses: Path) -> Component:
    """Describe a package of the system, and lay its licences beside the program."""
    shutil.copyfile(f"/usr/share/doc/{name}/copyright", licenses / name)
    version = dpkg("-W", "-f=${Version}", name).strip()
    return component(name, version, PackageURL("deb", "debian", name, version))


def component(name: str, version: str, purl: PackageURL) -> Component:
    """Make one line of the bill."""
    expression = SPDX.get(name)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseExpression(expression)] if expression else [],
    )


def debian_package(path: Path) -> str:
    """Name the package a file came with; nothing where dpkg does not know it.

    Debian has merged /lib into /usr/lib, and dpkg knows a file by one of the two names alone.
    """
    real = str(path.resolve())
    for known in (str(path), real, real.removeprefix("/usr"), f"/usr{path}"):
        said = dpkg("-S", known)
        if said:
            return said.partition(":")[0]
    return ""


def dpkg(*asked: str) -> str:
    """Ask dpkg's database; nothing where there is no answer, or no dpkg."""
    if shutil.which("dpkg-query") is None:
        return ""
    said = subprocess.run(["dpkg-query", *asked], check=False, capture_output=True, text=True)
    return said.stdout


if __name__ == "__main__":
    main()
