"""What the README lets its readers paste is run here, and what it boasts of is counted.

The Dockerfile is run but for its FROM: there is no registry of images here, and the Python of the
tests stands in for that image. Its recipes for servers are run by tests/interop.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import proc
import readme
from scenes import BIND, LISTEN, QUICK, python

if TYPE_CHECKING:
    from scenes import Start

PROVEN_BY = {
    "The new worker is accepting connections before the old one is asked to stop": (
        "process/test_recycle.py::test_c21_the_old_worker_answers_until_the_new_one_is_ready"
    ),
    "If the new version does not start, the old workers go on serving": (
        "process/test_recycle.py::test_c24_a_new_version_that_does_not_start_costs_nobody_anything"
    ),
    "SIGTERM is acted on at once, in the middle of a recycle too": (
        "process/test_shutdown.py::test_term_during_a_recycle_retires_all_at_once"
    ),
    "all spend from one budget, and srvinit is gone when it ends": (
        "process/test_shutdown.py::test_c33_the_whole_shutdown_fits_the_grace_period"
    ),
    "It reaps every zombie": ("process/test_pid1.py::test_c04_zombies_do_not_eat_the_pids_limit"),
    "never blocks on its log, a worker or a full pipe": (
        "process/test_log_output.py::test_c41_nobody_reads_the_log"
    ),
    "no threads, no temporary files": (
        "process/test_readme.py::test_no_thread_is_started_and_no_file_is_made"
    ),
    "Idle, it does not wake up at all": "process/test_idle.py::test_a_quiet_srvinit_sleeps",
    "srvinit says so and treats a running worker as ready": (
        "process/test_readiness.py::test_where_proc_is_hidden_readiness_is_weaker_and_said"
    ),
    "a second one changes nothing": "process/test_signals.py::test_a_second_term_changes_nothing",
    "a further Ctrl-C, a second later, kills at once": (
        "unit/test_pool_shutdown.py::test_ctrl_c_again_a_second_later_kills_at_once"
    ),
    "any number of them during a recycle cause exactly one more": (
        "process/test_recycle.py::test_hups_during_a_recycle_cause_one_further_pass"
    ),
    "a worker that served, or an orphan, had to be killed": (
        "process/test_shutdown.py::test_orphans_are_asked_then_killed"
    ),
    "(or what is wrong with the settings) go, as text, to the termination message": (
        "process/test_exit_status.py::test_other_ends_than_0_leave_a_termination_message"
    ),
    "Unknown names and bad values are refused, all at once": (
        "process/test_exit_status.py::test_settings_that_are_refused_exit_2_and_start_nothing"
    ),
    "a faulty one is reported and the running settings stay": (
        "process/test_recycle.py::test_a_broken_file_on_hup_keeps_the_settings"
    ),
    "in the order of `-b`": "process/test_sockets.py::test_sockets_come_in_the_order_of_bind",
    "as systemd (`LISTEN_FDS`), Server::Starter and einhorn hand it over": (
        "process/test_sockets.py::test_the_environment_names_every_widely_spoken_protocol"
    ),
    "Modules are imported once and shared by the forked workers": (
        "process/test_library.py::test_each_way_to_call_srv_serves_recycles_and_returns"
    ),
    "If the sum does not fit srvinit refuses to start, and says the sum": (
        "unit/test_options.py::test_a_budget_that_does_not_fit_is_refused_with_its_sum"
    ),
    "a simulated day with 24 recycles takes less than a second": (
        "unit/test_docs.py::test_a_simulated_day_takes_a_moment"
    ),
    "An exception in the function is a crash, with its traceback on stderr": (
        "process/test_library.py::test_an_exception_is_a_crash_with_its_traceback_on_stderr"
    ),
}
#: Each way to make a file, and to start a thread or a process.
WATCHED = (
    "open openat openat2 creat mkdir mkdirat mknod mknodat link linkat symlink symlinkat "
    "rename renameat renameat2 bind memfd_create clone clone3"
)


# --- the Dockerfile ------------------------------------------------------------------------------


def test_the_dockerfile_recycles_and_stops(srvinit: Start, tmp_path: Path, port: int) -> None:
    """COPY, RUN and ENTRYPOINT as they stand; the log of a recycle is the one that is shown."""
    lines = dict(line.split(" ", 1) for line in readme.block("dockerfile").splitlines())
    image = tmp_path / "image"
    image.mkdir()
    copy(lines["COPY"], build_wheel(tmp_path), image)
    environ = install(lines["RUN"], tmp_path / "venv", image)
    command = json.loads(lines["ENTRYPOINT"].replace(f":{readme.PORT}", f":{port}"))
    found = shutil.which(command[0], path=environ["PATH"])
    assert found == str(tmp_path / "venv/bin/srvinit"), "the wheel's, not the source tree's"

    pool = srvinit(*command[1:], run=[found], pid1=True, cwd=image, environ=environ)
    pool.wait_event("srvinit.ready", within=60)
    assert json.loads(harness.ask(port))["generation"] == "1"
    before = len(pool.events)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=90)
    assert json.loads(harness.ask(port))["generation"] == "2"
    pool.signal("TERM")
    assert pool.exit_status(within=30) == 0

    said = iter(without_numbers(event["message"]) for event in pool.events[before:])
    for line in readme.block("text", "recycled to").splitlines():
        assert without_numbers(line) in said, f"not in the log, or not at this place: {line}"


def build_wheel(folder: Path) -> Path:
    """Run `make wheel` in a copy of the sources; return that folder, with an app.py beside."""
    source = folder / "source"
    source.mkdir()
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(readme.ROOT / name, source)
    shutil.copytree(readme.ROOT / "srvinit", source / "srvinit")
    shutil.copy(readme.ROOT / "demo/app.py", source)
    # the tests' own venv, which make need not set up again
    run_with_pip(["make", "-o", "setup", "wheel", f"VENV={sys.prefix}"], source, {})
    return source


def copy(instruction: str, context: Path, image: Path) -> None:
    """Do as COPY does."""
    *patterns, to = instruction.split()
    for pattern in patterns:
        found = list(context.glob(pattern))
        assert found, f"COPY finds no {pattern}"
        for path in found:
            shutil.copy(path, image / to)


def install(instruction: str, venv: Path, image: Path) -> dict[str, str]:
    """Do as RUN does, in a venv with nothing in it; return the environment in which it is used.

    The pip is that of the tests, told to work for that venv: an own one takes seconds to get.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    path = [f"{venv}/bin", os.environ["PATH"]]
    with_pip = os.pathsep.join([str(Path(sys.executable).parent), *path])
    how = {"PATH": with_pip, "PIP_PYTHON": f"{venv}/bin/python"}
    run_with_pip(["sh", "-c", instruction], image, how)
    return {"PATH": os.pathsep.join(path)}


def run_with_pip(command: list[str], cwd: Path, environ: dict[str, str]) -> None:
    """Run what needs a package registry."""
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=harness.clean_environ() | quiet | environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "No matching distribution" in done.stderr:
        harness.missing("a registry of Python packages")
    assert done.returncode == 0, done.stdout + done.stderr


def without_numbers(text: str) -> str:
    """Return a message with N for each number and each duration."""
    duration = r"\d[\d.]*( (ms|s|min|h|d)\b)?( \d+ (s|min|h)\b)?"
    return re.sub(duration, "N", text)


# --- the library ---------------------------------------------------------------------------------


def test_the_python_program_serves_and_returns(srvinit: Start, tmp_path: Path, port: int) -> None:
    program = readme.block("python", "srvinit.srv").replace(readme.PORT, str(port))
    (tmp_path / "app.py").write_text(program + "\nprint('srv returned')\n")
    pool = srvinit(run=[sys.executable, "app.py"], cwd=tmp_path)
    pool.wait_event("srvinit.ready", workers=2)
    assert harness.ask(port) in {b"hello from worker 0\n", b"hello from worker 1\n"}
    pool.signal("TERM")
    assert pool.exit_status() == 0
    assert pool.output == b"srv returned\n"
    assert pool.strays == []


# --- the status ----------------------------------------------------------------------------------


def test_the_status_is_read_as_its_page_says(srvinit: Start) -> None:
    """`head -1 /proc/1/fd/63`, where 1 is srvinit's pid."""
    page = (readme.ROOT / "docs/status.md").read_text(encoding="utf-8")
    prompt, shown = readme.block("console", "/proc/1/", page).splitlines()[:2]
    pool = srvinit("-w", "4", "--", "sleep", "60")
    command = prompt.removeprefix("$ ").replace("/proc/1/", f"/proc/{pool.pid}/")
    expected = shown.replace('"pid": 1,', f'"pid": {pool.pid},')

    def told() -> bool:
        # the first status is written some time after srvinit.ready
        done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
        return done.stdout.startswith(expected)

    pool.wait_event("srvinit.ready", workers=4)
    proc.wait_until(told, 10, f"{command} to print {expected}")


# --- what it boasts of ---------------------------------------------------------------------------


def test_each_claim_is_proven_by_a_test_that_exists() -> None:
    text = " ".join(readme.TEXT.split())
    for claim, proof in PROVEN_BY.items():
        file, name = proof.split("::")
        assert claim in text, f"the README does not say this any more: {claim}"
        assert f"def {name}(" in (readme.ROOT / "tests" / file).read_text(), proof


def test_no_thread_is_started_and_no_file_is_made(srvinit: Start, tmp_path: Path) -> None:
    """From the first instruction to the exit, through a recycle, as the kernel saw it.

    Python is told to keep no compiled modules: pip, not srvinit, has made those of an image.
    """
    seen = tmp_path / "calls"
    watched = ",".join(f"?{name}" for name in WATCHED.split())
    tracer = [harness.program("strace"), "-D", "-o", str(seen), "-e", f"trace={watched}"]
    options = ("-w2", BIND, *LISTEN, QUICK)
    environ = {"PYTHONDONTWRITEBYTECODE": "1"}
    pool = srvinit(*options, "--", *python("web.py"), prefix=tracer, environ=environ)
    pool.wait_event("srvinit.ready", within=60)
    assert proc.status_field(pool.pid, "Threads") == "1"
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=60)
    pool.signal("TERM")
    assert pool.exit_status(within=30) == 0

    proc.wait_until(lambda: b"+++ exited" in proc.read(seen), 10, "strace to have written it all")
    calls = [line for line in seen.read_text().splitlines() if " = " in line]
    assert sum(call.startswith(("clone", "fork")) for call in calls) >= 4, "four workers"
    assert any(call.startswith("bind(") for call in calls)
    assert [call for call in calls if makes_something(call)] == []


def makes_something(call: str) -> bool:
    """Tell whether a system call, as strace writes it, starts a thread or makes a file."""
    name = call.partition("(")[0]
    if name.startswith("clone"):
        return "CLONE_THREAD" in call
    if name.startswith(("open", "bind")):
        return any(word in call for word in ("O_CREAT", "O_TMPFILE", "sun_path"))
    if name == "memfd_create":  # the status: memory behind a descriptor, in no directory
        return "srvinit-status" not in call
    return True
