"""How a command is found, and how its failure to start is told: errno, exit status, words."""

from __future__ import annotations

import os
import resource
import struct
from typing import TYPE_CHECKING, Any

import pytest
from forked import forked
from spawning import ended, launch, names_in, run, start

from srvinit.errors import KernelRefused
from srvinit.kernel import signals, spawn

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")


def elf(machine: int, loader: bytes = b"") -> bytes:
    """Make the head of a 64-bit ELF file: the machine it is for and, if any, its loader."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x78, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    kind = 3 if loader else 1  # PT_INTERP, PT_LOAD
    place = 64 + 56
    size = len(loader) + 1
    segment = struct.pack("<IIQQQQQQ", kind, 5, place, 0, 0, size, size, 1)
    return ident + header + segment + loader + b"\0" * 64


HERE, ELSEWHERE = (183, 62) if os.uname().machine == "aarch64" else (62, 183)


@pytest.mark.parametrize(
    ("content", "mode", "code", "said"),
    [
        (b"#!/bin/sh\r\necho x\r\n", 0o755, 127, "the interpreter '/bin/sh\\r', with a carriage"),
        (
            b"#! /no/such/thing -x\n",
            0o755,
            127,
            "interpreter '/no/such/thing', which does not exist",
        ),
        (b"echo x\n", 0o755, 126, "has no #! line"),
        (b"\xef\xbb\xbf#!/bin/sh\n", 0o755, 126, "a byte order mark stands before its #! line"),
        (b"#!\n", 0o755, 126, "names no interpreter"),
        (b"", 0o755, 126, "is empty"),
        (b"#!/bin/sh\n", 0o644, 126, "is not executable (mode 0644)"),
        (elf(ELSEWHERE), 0o755, 126, "this machine is " + os.uname().machine),
        (elf(HERE, b"/lib/ld-none.so.1"), 0o755, 127, "its loader '/lib/ld-none.so.1' does not"),
    ],
)
def test_why_a_file_cannot_be_run_is_said_in_words(
    tmp_path: Path, content: bytes, mode: int, code: int, said: str
) -> None:
    """In the words of a person who has to mend it, with the exit status of a shell (C12)."""
    path = tmp_path / "work"
    path.write_bytes(content)
    path.chmod(mode)
    _, found, words = forked(run, launch(str(path)))
    assert found == code
    assert words.startswith(f"{path}: ")
    assert said in words


@pytest.mark.parametrize(
    ("argv0", "code", "said"),
    [
        ("./here", 0, ""),
        ("sub/here", 0, ""),
        ("here", 127, "here: not found in PATH"),
        ("./sub", 126, "./sub: is a directory"),
        ("./missing", 127, "./missing: no such file"),
        ("here/below", 126, "here/below: Not a directory (ENOTDIR)"),
        ("./dangling", 127, "./dangling: a symbolic link to nothing"),
        ("", 127, "the empty command: not found in PATH"),
    ],
)
def test_a_command_is_found_as_a_shell_finds_it(
    tmp_path: Path, argv0: str, code: int, said: str
) -> None:
    """With a slash from the worker's directory, else by PATH alone (C49)."""
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "here", tmp_path / "sub" / "here"):
        path.write_text("#!/bin/sh\nexit 0\n")
        path.chmod(0o755)
    (tmp_path / "dangling").symlink_to("nothing")
    assert forked(run, launch(argv0, cwd=str(tmp_path))) == ["", code, said]


def test_path_is_the_workers_own(tmp_path: Path) -> None:
    """Unset it is /bin:/usr/bin; an empty part is the worker's directory.

    A file that is there but cannot be run is told before one that is not there.
    """
    (tmp_path / "tool").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "plain").write_text("")
    unset = {b"HOME": b"/"}
    here = str(tmp_path)

    def found(argv0: str, **how: Any) -> Any:
        return forked(run, launch(argv0, **how))

    assert found("true", environ=unset)[1] == 0
    assert found("tool", environ=unset)[1] == 127
    assert found("tool", environ=unset, extra_env=(("PATH", f"/none:{here}"),))[0] == "found\n"
    assert found("tool", environ={b"PATH": b"/none:"}, cwd=here)[0] == "found\n"
    denied = found("plain", environ={b"PATH": f"/none:{here}:/bin".encode()})
    assert denied[1:] == [126, f"{here}/plain: is not executable (mode 0644)"]


def test_what_cannot_even_be_asked_of_the_kernel_is_a_failure_like_others() -> None:
    _, code, words = forked(run, launch("true", "a\0b"))
    assert code == 126
    assert "NUL byte" in words


def test_a_directory_that_cannot_be_entered_is_named() -> None:
    _, code, words = forked(run, launch("true", cwd="/none/here"))
    assert (code, words) == (127, "worker.cwd /none/here: No such file or directory (ENOENT)")


def test_a_failure_is_told_even_where_a_socket_takes_the_place_of_its_pipe() -> None:
    """The pipe gets 3 and 4, the lowest free ones; the sockets come there after it."""

    def body() -> list[Any]:
        signals.block()
        for place in (7, 8, 9):
            os.dup2(0, place, inheritable=False)
        how = launch("./none", sockets=(("", ":1", 7), ("", ":2", 8), ("", ":3", 9)))
        pid, result = start(how)
        return [result.path, ended(pid)]

    assert forked(body) == ["./none", 127]


@as_root
def test_a_fork_that_fails_is_refused_and_leaves_nothing_behind() -> None:
    """C54: EAGAIN, as at a pids limit."""

    def body() -> list[Any]:
        signals.block()
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        os.setresuid(NOBODY, NOBODY, NOBODY)
        before = len(names_in("/proc/self/fd"))
        with pytest.raises(KernelRefused) as refused:
            spawn.spawn(launch("true"), 3, 0)
        return [refused.value.call, refused.value.name, len(names_in("/proc/self/fd")) - before]

    assert forked(body) == ["fork", "EAGAIN", 0]


def test_no_descriptor_left_is_refused() -> None:
    """C55: EMFILE, before anything is forked."""

    def body() -> list[str]:
        signals.block()
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
        with pytest.raises(KernelRefused) as refused:
            spawn.spawn(launch("true"), 3, 0)
        return [refused.value.call, refused.value.name]

    assert forked(body, at_descriptor=3) == ["pipe2", "EMFILE"]
