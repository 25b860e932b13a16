"""What an image, an environment or a directory can do to srvinit: nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine import Container, Docker

ROOT = Path(__file__).resolve().parent.parent.parent
ONCE = ["-w1", "--restart-policy=never", "--"]
# Each would be obeyed by the loader, by a C library, by PyInstaller's bootloader or by Python.
HOSTILE = {
    "LD_PRELOAD": "/hostile/preloaded.so",
    "LD_LIBRARY_PATH": "/hostile",
    "LD_AUDIT": "/hostile/audit.so",
    "LD_BIND_NOW": "1",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "MALLOC_PERTURB_": "90",
    "LC_ALL": "de_DE.ISO-8859-1",
    "LANG": "ja_JP.eucJP",
    "PYTHONHOME": "/hostile",
    "PYTHONPATH": "/hostile",
    "PYTHONSTARTUP": "/hostile/json.py",
    "PYTHONVERBOSE": "1",
    "PYTHONMALLOC": "debug",
    "_PYI_APPLICATION_HOME_DIR": "/hostile",
    "_PYI_ARCHIVE_FILE": "/hostile/app",
    "_PYI_PARENT_PROCESS_LEVEL": "3",
    "LD_LIBRARY_PATH_ORIG": "/kept/from/a/frozen/parent",
}
SHADOWS = ("json", "signal", "structlog", "sitecustomize", "posix", "srvinit", "encodings")


@pytest.fixture
def hostile_image(docker: Docker, make_image: Callable[[str], str], tmp_path: Path) -> str:
    """Make an image whose /hostile is full of modules and libraries that nobody must load."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("open('/tmp/pwned', 'w')\n")
    for name in ("libc.so.6", "libpython3.11.so.1.0", "libz.so.1"):
        (tmp_path / name).write_bytes(b"no library at all\n")
    docker.build(f"FROM {make_image('busybox')}\nCOPY . /hostile/\n", "hostile", tmp_path)
    return "hostile"


def test_nothing_beside_the_user_reaches_srvinit(
    hostile_image: str, run: Callable[..., Container]
) -> None:
    """C48: the directory and the environment are full of what would be loaded; none of it is."""
    variables = [f"--env={name}={value}" for name, value in HOSTILE.items()]
    container = run("--workdir=/hostile", *variables, hostile_image, *ONCE, "/bin/sleep", "0.2")

    assert container.exit_status() == 0
    assert container.changes() == []
    assert all(line.startswith("{") for line in container.lines), container.lines
    assert container.events[-1]["event"] == "srvinit.exiting"


def test_workers_environment_is_what_srvinit_was_given(docker: Docker, hostile_image: str) -> None:
    """Each variable comes through unchanged, and nothing of the bundle's own is added."""
    variables = [f"--env={name}={value}" for name, value in HOSTILE.items()]
    bare = docker.run(
        "run", "--rm", *variables, "--hostname=h", "--entrypoint=/bin/env", hostile_image
    )
    ours = docker.run("run", "--rm", *variables, "--hostname=h", hostile_image, *ONCE, "/bin/env")

    added = set(ours.stdout.splitlines()) - set(bare.stdout.splitlines())
    assert not set(bare.stdout.splitlines()) - set(ours.stdout.splitlines())
    assert added == {"SRVINIT_WORKER=0", "SRVINIT_GENERATION=1"}


def test_frozen_inside_frozen_works(docker: Docker, hostile_image: str) -> None:
    """A worker that is srvinit itself runs, and hands on what a worker of one srvinit is given."""
    variables = [f"--env={name}={value}" for name, value in HOSTILE.items()]
    start = ["run", "--rm", *variables, "--hostname=h", hostile_image, *ONCE]
    inner = ["/opt/srvinit/srvinit", *ONCE]

    one = docker.run(*start, "/bin/env")
    two = docker.run(*start, *inner, "/bin/env")

    assert sorted(two.stdout.splitlines()) == sorted(one.stdout.splitlines())


def test_bytes_that_are_no_text_pass(docker: Docker, make_image: Callable[[str], str]) -> None:
    """In arguments and in the environment, bytes that are not UTF-8 arrive as they were."""
    script = r'printf "A=$(printf "\377\376")" >/tmp/e; exec env "$(cat /tmp/e)" '
    script += r"/opt/srvinit/srvinit -w1 --restart-policy=never -- /bin/sh -c "
    script += r"""'printf "%s|%s" "$A" "$1" | od -An -tx1' sh "$(printf "\200x")" """
    said = docker.run("run", "--rm", "--entrypoint=/bin/sh", make_image("busybox"), "-c", script)

    assert said.stdout.split() == ["ff", "fe", "7c", "80", "78"]


@pytest.mark.parametrize("found", ["", "trap '' PIPE HUP USR1;", "trap '' CHLD XFSZ;"])
def test_signals_and_limits_are_those_found(
    docker: Docker, make_image: Callable[[str], str], found: str
) -> None:
    """C8: mask, ignored signals, umask and limits in the worker equal those before srvinit."""
    show = "umask; ulimit -a; grep -E 'Sig(Ign|Blk)' /proc/self/status"
    srvinit = "/opt/srvinit/srvinit -w1 --restart-policy=never --no-worker-ignore-sigint --"
    script = "\n".join(
        [
            f'echo "{show}" >/tmp/show',
            f"umask 027; ulimit -n 77; {found}",
            f"/bin/sh /tmp/show; echo --; exec {srvinit} /bin/sh /tmp/show",
        ]
    )
    said = docker.run("run", "--rm", "--entrypoint=/bin/sh", make_image("busybox"), "-c", script)

    before, _, after = said.stdout.partition("--\n")
    assert after == before


@pytest.mark.parametrize(
    "place",
    [
        ["--read-only"],
        ["--env=TMPDIR=/nonexistent"],
        ["--tmpfs=/tmp:noexec,size=4k"],
        ["--read-only", "--tmpfs=/tmp:ro"],
    ],
    ids=["read-only", "no TMPDIR", "noexec and full", "read-only tmp"],
)
def test_no_place_to_unpack_is_needed(
    run: Callable[..., Container], make_image: Callable[[str], str], place: list[str]
) -> None:
    """C45: srvinit starts wherever nothing can be written."""
    container = run(*place, make_image("busybox"), *ONCE, "/bin/true")

    assert container.exit_status() == 0
    assert [one for one in container.changes() if "/tmp" not in one] == []  # noqa: S108


def test_requested_stop_is_no_failure(
    run: Callable[..., Container], make_image: Callable[[str], str]
) -> None:
    """C10: `--restart on-failure` and `docker stop`: ended with 0, not started again."""
    policy = "--restart=on-failure"
    image = make_image("busybox")
    serving = ["--bind=:8080", "--worker-require=listen", "--", "/srv/server"]
    for command in (serving, ["-w2", "--", "/bin/sleep", "1000"]):
        container = run(policy, image, *command)
        container.wait_event("srvinit.ready")

        assert container.stop() == 0
        assert container.inspect(".State.Status") == "exited"
        assert container.inspect(".RestartCount") == 0


def test_plain_inits_status_is_the_commands(
    run: Callable[..., Container], make_image: Callable[[str], str]
) -> None:
    """C10: with restart.policy=never, a command killed from outside by TERM: 143."""
    container = run(make_image("busybox"), *ONCE, "/bin/sh", "-c", "kill -TERM $$")

    assert container.exit_status() == 143


def test_stubborn_worker_does_not_cost_the_container_its_exit_status(
    run: Callable[..., Container], make_image: Callable[[str], str]
) -> None:
    """C33: within Docker's 10 s srvinit itself kills, says so, and ends with 124, not 137."""
    ignoring = [
        "-w1",
        "--shutdown-grace-period=5s",
        "--",
        "/bin/sh",
        "-c",
        "trap '' TERM; sleep 99",
    ]
    container = run(make_image("busybox"), *ignoring)
    container.wait_event("srvinit.ready")

    assert container.stop(timeout_s=10) == 124
    assert container.wait_event("worker.killed")


# -- nothing is missing from the bundle ------------------------------------------------------------


def test_version_is_that_of_the_project(docker: Docker, make_image: Callable[[str], str]) -> None:
    """C47: --version, and --help for that matter, work without what the source tree has."""
    text = (ROOT / "srvinit" / "__init__.py").read_text()
    version = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    image = make_image("busybox")
    assert version
    assert docker.run("run", "--rm", image, "--version").stdout == f"srvinit {version[1]}\n"
    assert "--worker-count" in docker.run("run", "--rm", image, "--help").stdout


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_module_is_missing(
    run: Callable[..., Container], make_image: Callable[[str], str], form: str
) -> None:
    """C47: a file, a bad file, a crash, a recycle, every kind of readiness, both renderers."""
    image = make_image("busybox")
    settings = (
        f"-c /tmp/c --log-format={form} --log-level=debug --restart-delay=10ms "
        "--recycle-settle=10ms --bind=:8080 --bind=unix:/tmp/s --worker-require=listen"
    )
    body = (
        "echo '[worker]' >/tmp/c; echo 'count = 1' >>/tmp/c; "
        f"exec /opt/srvinit/srvinit {settings} -- /srv/server"
    )
    container = run("--entrypoint=/bin/sh", image, "-c", body)
    container.wait_line("all workers are ready")

    container.docker.run("exec", container.name, "/bin/sh", "-c", "kill -9 $(pidof server)")
    container.wait_line("SIGKILL")
    container.wait_line("is ready", nth=2)
    container.signal("HUP")
    container.wait_line("recycle")
    container.docker.run("exec", container.name, "/bin/sh", "-c", "echo nonsense >>/tmp/c")
    container.signal("HUP")
    container.wait_line("settings refused")
    container.stop()

    whole = "\n".join(container.lines)
    for wrong in ("Traceback", "NotFoundError", "ImportError", "LookupError"):
        assert wrong not in whole, whole


@pytest.mark.parametrize(
    "wrong",
    [
        ["--worker-cuont=3", "--", "x"],
        ["--config=/etc", "--", "x"],
        ["--bind=münchen.example:80", "--", "x"],
        ["--bind=203.0.113.7:80", "--", "x"],
        ["--signal=QUIT=nothing", "--", "x"],
        ["--worker-count=auto", "--restart-policy=never", "--", "/nowhere"],
    ],
    ids=lambda given: given[0],
)
def test_a_fault_is_told_without_a_traceback(
    docker: Docker, make_image: Callable[[str], str], wrong: list[str]
) -> None:
    """C47: what only faults import is in the bundle too."""
    done = docker.run("run", "--rm", make_image("busybox"), *wrong, fails=True)

    assert done.returncode in {1, 2, 127}, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr


def test_log_lines_are_json(
    run: Callable[..., Container], make_image: Callable[[str], str]
) -> None:
    """The renderer that no terminal asks for is the default in a container."""
    container = run(make_image("busybox"), *ONCE, "/bin/true")

    assert container.exit_status() == 0
    assert json.loads(container.lines[0])["event"] == "srvinit.started"
