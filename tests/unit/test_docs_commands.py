"""Every command that the docs show is run by a test: here, or by the one named in ELSEWHERE.

Commands are what stands in fenced blocks of sh, bash and console, and in those without a language.
One that neither list knows fails, and so does an entry that no page has any more.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import harness
import pytest
import readme

if TYPE_CHECKING:
    from pathlib import Path

LOGS = readme.ROOT / "tests/unit/recorded/timeline"
PAGES = [
    *(readme.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "helm/srvinit/README.md")),
    *sorted((readme.ROOT / "docs").glob("*.md")),
]
SHELLS = {"", "sh", "bash", "shell", "console"}
#: How the commands begin that need another environment, and the test that runs them, or what they
#: stand for, there. Of the targets of make only their existence is tested: CI runs `make test`.
ELSEWHERE = {
    "docker run --stop-timeout": (
        "container/test_docker_examples.py::test_the_flags_of_docker_run_are_accepted_and_kept"
    ),
    "helm install web helm/srvinit": (
        "chart/test_chart_commands.py::test_the_commands_of_the_docs_render"
    ),
    "helm test web": (
        "cluster/test_cluster_operation.py::test_helm_test_serves_recycles_and_drains"
    ),
    "kubectl exec deploy/web -- srvinitctl status": (
        "cluster/test_cluster_operation.py::test_srvinitctl_through_kubectl_exec"
    ),
    "head -1 /proc/1/fd/": ("process/test_readme.py::test_the_status_is_read_as_its_page_says"),
    **dict.fromkeys(
        ("srvinit -w 4 -b 0.0.0.0:8080 ", "srvinit -w 4 --", "srvinit -w 1 --", "python app.py"),
        "interop/test_servers.py::"
        "test_recycles_under_load_lose_nothing_but_what_the_server_itself_cuts",
    ),
    "make ": "unit/test_docs.py::test_every_command_of_make_exists",
}


def commands() -> list[str]:
    """Return each command of the docs, without comments and continued lines joined."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if language in SHELLS:
                found += shown(code, prompted=language == "console")
    return found


def shown(code: str, *, prompted: bool) -> list[str]:
    """Return the commands of one block; with prompts, all but those lines is output."""
    lines = re.sub(r" *\\\n *", " ", code).splitlines()
    if prompted:
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    bare = [re.sub(r"\s+#.*", "", line) for line in lines]
    return [line for line in bare if line and not line.startswith("#")]


HERE = [command for command in commands() if "srvinitctl timeline" in command]


def test_every_command_of_the_docs_is_run() -> None:
    known = (*ELSEWHERE, *HERE)
    assert [command for command in commands() if not command.startswith(known)] == []


@pytest.mark.parametrize("start", ELSEWHERE)
def test_what_runs_elsewhere_is_still_shown_and_has_its_test(start: str) -> None:
    file, name = ELSEWHERE[start].split("::")

    assert any(command.startswith(start) for command in commands()), "no page has it any more"
    assert f"def {name}(" in (readme.ROOT / "tests" / file).read_text(), ELSEWHERE[start]


@pytest.mark.parametrize("command", HERE)
def test_a_picture_is_drawn_by_each_command(command: str, tmp_path: Path) -> None:
    """In place of kubectl and docker, `cat` prints a log; the rest is shell and srvinitctl."""
    for name in ("web.log", "web.log.1"):
        shutil.copy(LOGS / "story.log", tmp_path / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    write(programs / "srvinitctl", f'exec {sys.executable} -m srvinit.ctl "$@"')
    write(programs / "kubectl", f"exec cat {LOGS / 'pods.log'}")
    write(programs / "docker", f"exec cat {LOGS / 'story.log'}")
    environ = harness.clean_environ()
    environ |= {"PATH": f"{programs}:{environ['PATH']}", "PYTHONPATH": str(readme.ROOT)}
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, env=environ, check=True, timeout=60)

    made = tmp_path / re.split(r"-o |> ", command)[-1]
    assert "worker 0" in made.read_text(encoding="utf-8")


def write(program: Path, line: str) -> None:
    """Make a program of one line of shell."""
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)
