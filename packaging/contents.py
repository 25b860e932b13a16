"""What goes into the bundle, and in which form. Runs in the Python that is frozen."""

from __future__ import annotations

import importlib.util
import marshal
import subprocess
import sys
import zipfile
from pathlib import Path

# Would be found by following imports, and is never reached by a command's supervisor or srvinitctl.
# asyncio, uuid: report/late.py has stand-ins for them. ctypes: kernel/reap.py uses _ctypes alone.
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
    # Of prometheus_client what writes metrics down is taken: report/exposition.py has stand-ins for
    # the rest.
    "prometheus_client.aiohttp", "prometheus_client.bridge", "prometheus_client.core",
    "prometheus_client.context_managers", "prometheus_client.decorator", "prometheus_client.django",
    "prometheus_client.gc_collector", "prometheus_client.metrics", "prometheus_client.mmap_dict",
    "prometheus_client.multiprocess", "prometheus_client.openmetrics.parser",
    "prometheus_client.parser", "prometheus_client.platform_collector",
    "prometheus_client.process_collector", "prometheus_client.twisted", "prometheus_client.values",
    "wsgiref", "timeit", "base64",
    "srvinit.library", "srvinit.__main__",
]  # fmt: skip

# Imported by Python's own start: start.py is not there yet. zipimport is one more, and left empty:
# there are no zips.
START_OF_PYTHON = [
    "importlib._bootstrap", "importlib._bootstrap_external", "abc", "codecs", "io", "encodings",
    "encodings.aliases", "encodings.utf_8",
]  # fmt: skip
# What bytes may have to be turned into or out of later.
ENCODINGS = {"encodings.ascii", "encodings.latin_1", "encodings.idna", "encodings.utf_8_sig"}

# Have dataclasses, and for one without a docstring dataclass() imports inspect: 6 ms and 0.6 MB.
NEEDS_DOCSTRINGS = {"structlog.dev", "structlog.tracebacks", "h11._events"}

# Of the modules that are part of Python itself, those that nothing here reaches: left out, they
# need no expat and of zlib, which is linked statically, its crc32 alone.
UNUSED_BUILTINS = {
    "pyexpat", "_elementtree", "zlib", "_pickle", "_csv", "_md5", "_sha1", "_sha256",
    "_sha3", "_sha512", "_blake2", "_random", "_statistics", "cmath", "spwd", "xxsubtype",
    "_symtable",
}  # fmt: skip
# Whose function to make them is not called PyInit_NAME; None: Python makes them by itself.
INIT_OF = {
    "marshal": "PyMarshal_Init",
    "_warnings": "_PyWarnings_Init",
    "sys": None,
    "builtins": None,
}

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


def write(folder: Path, modules: dict[str, Path], root: Path, start: Path) -> None:
    """Write all that is written in Python into the files that bootloader.c includes.

    What srvinit, or srvinitctl, imports at once has a piece of its own, with the places of the rest
    in the one that they share. What only srvinit's own piece has, srvinitctl finds there.
    """
    first = {name: modules[name] for name in START_OF_PYTHON} | {"start": start}
    files = {name: _marshalled(_compiled(name, path, root)[1]) for name, path in first.items()}
    files["zipimport"] = _marshalled(compile("", "<frozen zipimport>", "exec"))
    at_once = {"early": early_modules(root), "ctl": early_modules(root, _CTL_PROBE)}
    index, late = {}, b""
    for name, source in sorted(modules.items()):
        if name not in at_once["early"]:
            is_package, code = _compiled(name, source, root)
            marshalled = _marshalled(code)
            index[name] = (is_package, len(late), len(late) + len(marshalled))
            late += marshalled
    files["late"] = late
    for piece, names in at_once.items():
        early = [
            (name, *_compiled(name, modules[name], root), name.rpartition(".")[0]) for name in names
        ]
        places = {name: place for name, place in index.items() if name not in names}
        files[piece] = _marshalled((early, places))
    for name, written in files.items():
        (folder / f"{name}.code").write_bytes(written)
    (folder / "builtins.h").write_text(_table_of_builtins())


def _table_of_builtins() -> str:
    """Write in C which modules are part of the program: what config.c is to Python's own."""
    names = sorted(set(sys.builtin_module_names) - UNUSED_BUILTINS)
    made_by = {name: INIT_OF.get(name, f"PyInit_{name}") for name in names}
    declared = [f"extern PyObject *{one}(void);" for one in made_by.values() if one]
    rows = [f'    {{"{name}", {one or "NULL"}}},' for name, one in made_by.items()]
    rows += ['    {"_bundle", make_bundle},', "    {NULL, NULL},"]
    head = "struct _inittab _PyImport_Inittab[] = {"
    return "\n".join([*declared, head, *rows, "};", ""])


def _compiled(name: str, source: Path, root: Path) -> tuple[bool, object]:
    """Compile a module; tracebacks name its file from srvinit/ or from the library's folder on."""
    is_package = source.stem == "__init__"
    depth = name.count(".") + 1 + is_package
    shown = str(Path(*source.parts[-depth:]))
    if source.is_relative_to(root / "srvinit"):
        shown = str(source.relative_to(root))
    if name.startswith("importlib._bootstrap"):
        shown = f"<frozen {name}>"  # by which Python leaves its own frames out of tracebacks
    level = 1 if name in NEEDS_DOCSTRINGS else 2
    code = compile(source.read_bytes(), shown, "exec", dont_inherit=True, optimize=level)
    return is_package, code


def _marshalled(value: object) -> bytes:
    """Marshal to the same bytes in every run.

    How an object is written depends on who else refers to it, which differs from run to run; to
    what has been read back nobody else does.
    """
    return marshal.dumps(marshal.loads(marshal.dumps(value)))  # noqa: S302  our own


def stand_ins() -> dict[str, Path]:
    """Return the sources of what stands for modules that are imported here and never used.

    Of the bundle alone: in a program that uses srvinit as a library they are that program's.
    """
    return {path.stem: path for path in (Path(__file__).parent / "standins").glob("*.py")}


def of_base_library(path: Path) -> dict[str, Path]:
    """Return the sources of what PyInstaller puts into its zip, without encodings nobody uses."""
    with zipfile.ZipFile(path) as whole:
        names = sorted(_module_name(entry) for entry in whole.namelist())
    wanted = {*START_OF_PYTHON, *ENCODINGS}
    return {
        name: _source(name) for name in names if name in wanted or not name.startswith("encodings.")
    }


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
