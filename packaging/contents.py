"""What goes into the bundle, and in which form. Runs in the Python that is frozen."""

from __future__ import annotations

import importlib.util
import marshal
import subprocess
import sys
import zipfile
from pathlib import Path

EARLY_FILE = "early.code"
CTL_FILE = "ctl.code"
LATE_FILE = "late.code"

# Would be found by following imports, and is never reached by a command's supervisor or srvinitctl.
# asyncio, uuid: report/late.py has stand-ins for them. ctypes: kernel/reap.py uses _ctypes alone,
# and PyInstaller's start imports the package if it is there (2 ms).
NEVER_REACHED = [
    "asyncio", "concurrent", "multiprocessing", "ssl", "_ssl", "uuid", "_uuid", "ctypes",
    "hashlib", "_hashlib", "_blake2", "hmac", "secrets", "random", "bz2", "_bz2", "lzma",
    "_lzma", "zipfile", "tarfile", "gzip", "tempfile", "email", "http", "urllib",
    "html", "xml", "pyexpat", "xmlrpc", "ftplib", "netrc", "mimetypes", "socketserver",
    "importlib.metadata", "importlib.resources", "importlib.readers", "csv", "quopri",
    "optparse", "getopt", "doctest", "unittest", "pydoc", "pdb", "bdb",
    "cmd", "code", "codeop", "curses", "readline", "rlcompleter", "tkinter", "sqlite3", "dbm",
    "decimal", "_decimal", "_pydecimal", "fractions", "statistics", "numbers", "calendar",
    "_strptime", "subprocess", "pathlib", "glob", "ipaddress", "getpass", "pprint",
    "lib2to3", "distutils", "setuptools", "pkg_resources", "pip", "_codecs_cn", "_codecs_hk",
    "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "_multibytecodec",
    "better_exceptions", "rich", "colorama", "twisted", "greenlet", "typing_extensions",
    "srvinit.library", "srvinit.__main__",
]  # fmt: skip

# Imported by Python's own start, from the zip: start.py is not there yet.
START_OF_PYTHON = {"encodings", "encodings.aliases", "encodings.utf_8"}
# What bytes may have to be turned into or out of later.
ENCODINGS = {"encodings.ascii", "encodings.latin_1", "encodings.idna", "encodings.utf_8_sig"}

_PROBE = """
import posix, sys
sys.path.append({root!r})
posix.fork = lambda: posix._exit(0)
from srvinit.kernel import signals
mask = signals.block()
from srvinit import cli
cli.main(["--worker-count=1", "--", "/"], mask)
"""


# All that a probe needs: `srvinitctl ready` is to start as fast as Python does.
_CTL_PROBE = """
import sys
sys.path.append({root!r})
from srvinit import ctl
"""


def early_modules(root: Path, probe: str = _PROBE) -> list[str]:
    """Ask srvinit's source what it has imported when it forks the first worker, dependencies first.

    -X importtime names a module once it is imported as a whole.
    """
    command = [sys.executable, "-I", "-S", "-X", "importtime", "-c", probe.format(root=str(root))]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    names = [line.rpartition("|")[2].strip() for line in said.splitlines()]
    return [name for name in names if name == "__future__" or name.split(".")[0] == "srvinit"]


def commands(root: Path) -> list[str]:
    """List the modules of srvinitctl's commands, which nothing imports by name."""
    sys.path.insert(0, str(root))
    from srvinit import ctl

    return sorted({module for module, _ in ctl.COMMANDS.values()})


def write(folder: Path, modules: dict[str, Path], root: Path) -> list[Path]:
    """Write all that is written in Python into three files, as start.py reads them.

    What srvinit, or srvinitctl, imports at once has a file of its own, with the places of the rest
    in the one that they share. What only srvinit's own file has, srvinitctl finds there.
    """
    first = {EARLY_FILE: early_modules(root), CTL_FILE: early_modules(root, _CTL_PROBE)}
    index, late = {}, b""
    for name, source in sorted(modules.items()):
        if name not in first[EARLY_FILE]:
            is_package, code = _compiled(name, source, root)
            marshalled = _marshalled(code)
            index[name] = (is_package, len(late), len(marshalled))
            late += marshalled
    files = {LATE_FILE: late}
    for file, names in first.items():
        early = [
            (name, *_compiled(name, modules[name], root), name.rpartition(".")[0]) for name in names
        ]
        places = {name: place for name, place in index.items() if name not in names}
        files[file] = _marshalled((early, places))
    for name, written in files.items():
        (folder / name).write_bytes(written)
    return [folder / name for name in files]


def _compiled(name: str, source: Path, root: Path) -> tuple[bool, object]:
    """Compile a module; tracebacks name its file from srvinit/ or from the library's folder on."""
    is_package = source.stem == "__init__"
    depth = name.count(".") + 1 + is_package
    shown = str(Path(*source.parts[-depth:]))
    if source.is_relative_to(root / "srvinit"):
        shown = str(source.relative_to(root))
    code = compile(source.read_bytes(), shown, "exec", dont_inherit=True, optimize=2)
    return is_package, code


def _marshalled(value: object) -> bytes:
    """Marshal to the same bytes in every run.

    How an object is written depends on who else refers to it, which differs from run to run; to
    what has been read back nobody else does.
    """
    return marshal.dumps(marshal.loads(marshal.dumps(value)))  # noqa: S302  our own


def shrink_base_library(path: Path) -> dict[str, Path]:
    """Leave in PyInstaller's zip what Python's start needs; return the sources of the rest."""
    with zipfile.ZipFile(path) as whole:
        entries = {entry.filename: whole.read(entry) for entry in whole.infolist()}
    names = {entry: _module_name(entry) for entry in sorted(entries)}
    with zipfile.ZipFile(path, "w") as small:
        for entry, name in names.items():
            if name in START_OF_PYTHON:
                small.writestr(zipfile.ZipInfo(entry), entries[entry])
    late = [
        name
        for name in names.values()
        if name not in START_OF_PYTHON and (not name.startswith("encodings.") or name in ENCODINGS)
    ]
    return {name: _source(name) for name in late}


def _module_name(entry: str) -> str:
    return entry.removesuffix(".pyc").removesuffix("/__init__").replace("/", ".")


def _source(name: str) -> Path:
    found = importlib.util.find_spec(name)
    # A module that is frozen into Python itself says so, and where its source was.
    origin = found.origin if found else None
    if found and origin == "frozen":
        origin = found.loader_state.filename
    if origin is None:
        raise LookupError(f"no source of {name}")
    return Path(origin)
