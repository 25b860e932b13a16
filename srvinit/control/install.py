"""`srvinitctl install DIR`: copy the frozen srvinit into a folder that another image will mount.

For an init container of srvinit's own image, which has nothing else to copy with. The copy runs
where it was built for alone, so the folder is to be mounted there, at /opt/srvinit.
"""

from __future__ import annotations

import os

from srvinit import ctl
from srvinit.control import FailedError
from srvinit.control.arguments import parser_of

NAMES = ("srvinit", "srvinitctl", "_internal")
BLOCK_BYTES = 1 << 20


def main(arguments: list[str]) -> int:
    """Copy the bundle that this runs from."""
    parser = parser_of("install", is_about_one=False)
    parser.add_argument("folder", metavar="DIR", help="a folder, as that of an emptyDir")
    folder = parser.parse_args(arguments).folder
    bundle = _bundle()
    try:
        copied = copy(bundle, folder)
    except OSError as refused:
        raise FailedError(f"cannot copy {bundle} to {folder}: {refused}") from None
    size = f"{copied / 1e6:.1f} MB"
    ctl.say(ctl.OUT, f"copied {bundle} to {folder}: {size}, to be mounted at {bundle}\n")
    return 0


def copy(source: str, folder: str) -> int:
    """Copy what is in a folder, with its modes, over what may be there; return how many bytes."""
    copied = 0
    for here, _, files in os.walk(source):
        there = f"{folder}/{os.path.relpath(here, source)}"
        os.makedirs(there, exist_ok=True)  # noqa: PTH103  pathlib is not in the bundle
        for name in files:
            copied += _copy_file(f"{here}/{name}", f"{there}/{name}")
    return copied


def _copy_file(source: str, target: str) -> int:
    unfinished = f"{target}.unfinished"  # a program that runs cannot be written over
    size = 0
    with open(source, "rb") as reader, open(unfinished, "wb") as writer:  # noqa: PTH123  likewise
        while block := reader.read(BLOCK_BYTES):
            size += writer.write(block)
        os.fchmod(writer.fileno(), os.fstat(reader.fileno()).st_mode & 0o777)
    os.rename(unfinished, target)  # noqa: PTH104  likewise
    return size


def _bundle() -> str:
    program = os.readlink("/proc/self/exe")  # noqa: PTH115  likewise
    bundle = program.rpartition("/_internal/")[0]
    if not bundle or not all(os.access(f"{bundle}/{name}", os.R_OK) for name in NAMES):
        raise FailedError("only a frozen srvinit can be copied, and this is not one")
    return bundle
