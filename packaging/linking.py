"""Link bootloader.c, Python's static library and the modules into the program that is frozen."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

PACKAGING = Path(__file__).resolve().parent
LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
FLAGS = ["-std=gnu11", "-O2", "-no-pie", "-Wall", "-Wextra", "-Werror"]


def static_python() -> Path:
    """Say where the static library of the Python that runs this is."""
    return Path(sysconfig.get_config_var("LIBPL"), sysconfig.get_config_var("LIBRARY"))


def static_libraries() -> list[Path]:
    """Say what is linked into the program: Python, and zlib for binascii's crc32."""
    asked = ["gcc", "-print-file-name=libz.a"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return [static_python(), Path(told.strip()).resolve()]


def link(path: Path, folder: Path, prefix: str, *, verbose: bool = False) -> Path:
    """Link the program, with what contents.py has written into `folder`; return its path.

    At a fixed address, so that there is nothing to relocate, and with the loader and the libraries
    of the bundle alone. `verbose`: it tells on stderr what it imports, for a test.
    """
    inner = f"{prefix}/_internal"
    loader = f"{inner}/{LOADERS[os.uname().machine]}"
    defined = [f'-DPREFIX="{prefix}"', f"-DVERBOSE={int(verbose)}"]
    linker = f"--export-dynamic,-z,noseparate-code,--dynamic-linker={loader}"
    # The loader looks at a RPATH before anything else: a RUNPATH would come after LD_LIBRARY_PATH.
    rpath = f"--disable-new-dtags,-rpath,{inner}"
    libraries = [*static_libraries(), *sysconfig.get_config_var("LIBS").split(), "-lm"]
    subprocess.run(
        [
            *("gcc", *FLAGS, *defined, "-I.", f"-I{sysconfig.get_path('include')}"),
            *("-o", path, PACKAGING / "bootloader.c", *libraries, f"-Wl,{linker},{rpath}"),
        ],
        check=True,
        cwd=folder,
    )
    return path
