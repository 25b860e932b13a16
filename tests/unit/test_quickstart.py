"""What the quick way imports looks as if Python had imported it, and what is unusual it leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "srvinit"

TELL = """
import json, sys
sys.path.append(sys.argv[1])
if sys.argv[2] == "quickly":
    from srvinit import quickstart
    quickstart.begin()
from srvinit import cli, supervisor
from srvinit.settings.table import SETTINGS
if sys.argv[2] == "quickly":
    quickstart.end()
def told(module):
    spec = module.__spec__
    return [
        module.__name__, module.__file__, module.__cached__, module.__package__, module.__doc__,
        getattr(module, "__path__", None), type(module.__loader__).__name__,
        module.__loader__.path, spec.name, spec.origin, spec.cached, spec.parent,
        spec.has_location, spec.submodule_search_locations,
        sorted(name for name in vars(module) if name != "quickstart"),
    ]
ours = [told(module) for name, module in sys.modules.items()
        if name.partition(".")[0] == "srvinit" and name != "srvinit.quickstart"]
print(json.dumps(sorted(ours, key=lambda one: one[0])))
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copy the package, and compile it."""
    shutil.copytree(PACKAGE, tmp_path / "srvinit", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(tmp_path)], check=True)
    return tmp_path


def run(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-B", "-c", code, str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def told(folder: Path, how: str) -> list[list[object]]:
    """Import the command line's way, quickly or not; return what can be seen of the modules."""
    done = run(folder, TELL, how)
    assert done.stderr == ""
    found: list[list[object]] = json.loads(done.stdout)
    return found


def test_a_module_looks_as_importlib_makes_it(copied: Path) -> None:
    found = told(copied, "quickly")
    assert found == told(copied, "slowly")
    assert {"srvinit.cli", "srvinit.lifecycle", "srvinit.lifecycle.pool"} < {
        str(one[0]) for one in found
    }


def test_what_was_never_compiled_is_left_to_importlib(copied: Path) -> None:
    shutil.rmtree(copied / "srvinit" / "lifecycle" / "__pycache__")
    names = [one[0] for one in told(copied, "quickly")]
    assert "srvinit.lifecycle.pool" in names


def test_a_source_that_was_changed_is_compiled_anew(copied: Path) -> None:
    source = copied / "srvinit" / "cli.py"
    source.write_text(source.read_text(encoding="utf-8") + "\nCHANGED = True\n", encoding="utf-8")
    done = run(copied, TELL + "\nprint(cli.CHANGED)", "quickly")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "True"


def test_a_source_that_was_only_touched_is_looked_at_by_importlib(copied: Path) -> None:
    source = copied / "srvinit" / "cli.py"
    os.utime(source, (1, 1))
    assert "srvinit.cli" in [one[0] for one in told(copied, "quickly")]


def test_a_module_that_fails_is_not_there_and_tells_its_fault(copied: Path) -> None:
    source = copied / "srvinit" / "words.py"
    source.write_text("raise ValueError('no words')\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=True)
    code = """
import sys
sys.path.append(sys.argv[1])
from srvinit import quickstart
quickstart.begin()
for _ in range(2):
    try:
        from srvinit import words
    except ValueError as error:
        print(error, "srvinit.words" in sys.modules)
"""
    done = run(copied, code)
    assert done.stderr == ""
    assert done.stdout == "no words False\nno words False\n"


def test_a_name_that_is_no_module_is_an_import_error(copied: Path) -> None:
    code = """
import sys
sys.path.append(sys.argv[1])
from srvinit import quickstart
quickstart.begin()
try:
    from srvinit.lifecycle import nobody
except ImportError as error:
    print(error.name)
import srvinit.errors
print(srvinit.errors.__name__)
"""
    done = run(copied, code)
    assert done.stderr == ""
    assert done.stdout == "srvinit.lifecycle\nsrvinit.errors\n"


def test_the_end_leaves_python_as_it_was(copied: Path) -> None:
    code = """
import builtins, gc, sys
sys.path.append(sys.argv[1])
before = builtins.__import__
from srvinit import quickstart
quickstart.begin()
print(builtins.__import__ is before, gc.isenabled())
quickstart.end()
print(builtins.__import__ is before, gc.isenabled())
"""
    done = run(copied, code)
    assert done.stdout == "False False\nTrue True\n"
