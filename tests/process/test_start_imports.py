"""What is imported when the first worker is exec'ed: nothing that costs time and is not needed yet.

Python's own audit event of execve tells, in the child: it has what srvinit had at the fork. Each
module below costs 0.1 ms and more of the time until the first worker runs; each of the standard
library's written in Python costs milliseconds (bench/run.py start). So both lists are pinned: who
adds to them does so on purpose.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import harness
import pytest

#: Modules of the interpreter that are compiled C.
FOREIGN = {
    "_signal",
    "errno",
    "fcntl",
    "gc",
}
SOCKETS = {"_socket", "select"}
FOREIGN_FOR_BIND = {*SOCKETS, "_stat"}
OWN = {
    "",
    "cli",
    "errors",
    "kernel",
    "kernel.descriptors",
    "kernel.environment",
    "kernel.exec",
    "kernel.signals",
    "kernel.spawn",
    "listening",
    "options",
    "quickstart",
    "record",
    "settings",
    "settings.meanings",
    "settings.sources",
    "settings.table",
    "settings.values",
    "setup",
    "starting",
    "telling",
}
BIND = {"kernel.binding", "kernel.sockets", "settings.addresses"}
LISTEN = {*BIND, "kernel.procfs", "kernel.readiness", "settings.consistency"}
HTTP = {*BIND, "endpoint", "settings.consistency"}
NOTIFY = {"kernel.notify", "kernel.procfs", "settings.consistency"}

# In the child, at its exec: one line with the names. posix is built in and imported anyway.
AUDIT = """
import posix, sys
def tell(event, _arguments):
    if event == "os.exec":
        posix.write(1, " ".join(sorted(sys.modules)).encode() + b"\\n")
sys.addaudithook(tell)
"""
BARE = AUDIT + "posix.execv('/bin/true', ['true'])"


def modules_at_exec(*arguments: str) -> set[str]:
    """Run a program in a bare interpreter; return what its child had imported at the exec."""
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        env=harness.clean_environ(),
        timeout=30,
    )
    return set(told.stdout.decode().splitlines()[0].split())


def srvinit_line() -> str:
    """Return what runs the source tree, with structlog's folder for later; both behind the rest."""
    folders = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib")]
    return AUDIT + f"sys.path += {folders!r}\nfrom srvinit.__main__ import main\nsys.exit(main())"


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ([], set()),
        (["--bind=127.0.0.1:0"], BIND),
        (["--bind=127.0.0.1:0", "--worker-require=listen"], LISTEN),
        (["--worker-require=notify"], NOTIFY),
        (["--http=127.0.0.1:0"], HTTP),
    ],
    ids=["plain", "bind", "listen", "notify", "http"],
)
def test_nothing_is_imported_before_the_first_exec_that_is_not_needed_for_it(
    options: list[str], more: set[str]
) -> None:
    begun = modules_at_exec(BARE)
    command = ["--worker-count=1", "--restart-policy=never", *options]
    found = modules_at_exec(srvinit_line(), *command, "--", "/bin/true") - begun
    own = {name.removeprefix("srvinit").removeprefix(".") for name in found if is_own(name)}
    assert own == {"__main__", *OWN, *more}
    foreign = FOREIGN | (FOREIGN_FOR_BIND if more >= BIND else SOCKETS if more else set())
    assert {name for name in found if not is_own(name)} == foreign - begun


def test_a_loop_that_cannot_be_imported_leaves_no_worker_behind() -> None:
    """The first worker is started before: it must not outlive a start that fails after it.

    Its stdout is this test's pipe, which ends with the last process that has it.
    """
    lacks = "import sys\nsys.modules['srvinit.supervisor'] = None\n"
    forks = srvinit_line().replace("os.exec", "os.fork")
    command = [sys.executable, "-I", "-S", "-c", lacks + forks]

    ended = subprocess.run(
        [*command, "--worker-count=1", "--", "/bin/sleep", "1000"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=harness.clean_environ(),
        timeout=30,
    )

    assert ended.stdout.splitlines()  # it was forked
    assert b"srvinit: cannot start: import of srvinit.supervisor halted" in ended.stderr
    assert ended.returncode == 1


def is_own(name: str) -> bool:
    return name.partition(".")[0] == "srvinit"
