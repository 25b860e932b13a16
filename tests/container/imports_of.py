"""Run by the Python that was frozen: print what srvinit's modules import that is not in the bundle.

imports_of.py FOLDER_OF_CODE FOLDER_OF_EXTENSIONS
"""

import dis
import itertools
import marshal
import re
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
folder, extensions = map(Path, sys.argv[1:])
early, index = marshal.loads((folder / "early.code").read_bytes())  # noqa: S302  our own
late = (folder / "late.code").read_bytes()
codes = {name: code for name, _, code, _ in early}
for name, (_, begin, end) in index.items():
    codes[name] = marshal.loads(late[begin:end])  # noqa: S302  our own
builtin = set(re.findall(r'{"([^"]+)", ', (folder / "builtins.h").read_text()))
there = {*codes, *builtin, *(path.name.partition(".")[0] for path in extensions.iterdir())}


def imported(code):
    """Name what is imported in code and in all the functions within it, submodules too."""
    lines = [one for one in dis.get_instructions(code) if one.opname != "EXTENDED_ARG"]
    for names, one in itertools.pairwise(lines):
        if one.opname == "IMPORT_NAME":
            yield one.argval
            full = [f"{one.argval}.{name}" for name in names.argval or ()]
            yield from (name for name in full if (ROOT / f"{name.replace('.', '/')}.py").exists())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from imported(constant)


for module, code in sorted(codes.items()):
    if module.startswith("srvinit."):
        for name in imported(code):
            if name not in there:
                print(f"{module} imports {name}")
