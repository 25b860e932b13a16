"""execve(2): find the command by PATH, run it, and carry a failure back to the parent.

Runs in the child, where nothing may be logged and no exception may escape: a failure travels as
errno, with what stands at the path, over a close-on-exec pipe. Success is that pipe's end. What
it rests on:

- execve fails with ENOENT for a missing file, but also for a missing interpreter or ELF loader of
  a file that is there; with EACCES for a directory, for no x bit and for a noexec mount; with
  ENOEXEC for a format it does not know: no #! line, another architecture (execve(2), ERRORS).
- An interpreter line ends at the newline alone: a carriage return belongs to the name (execve(2),
  "Interpreter scripts").
- A name without a slash is looked for in PATH; an empty part of PATH is the current directory. The
  search goes on after ENOENT, ENOTDIR and EACCES (exec(3)). Unlike execvp, nothing is ever handed
  to sh for want of a #! line: such a script must not run in a shell that nobody chose.
- A write of up to PIPE_BUF (4096) bytes into a pipe is atomic (pipe(7)): a report comes whole.
"""

from __future__ import annotations

import errno
import posix
import sys

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Where PATH is not set: glibc's, confstr(3) _CS_PATH, exec(3).
DEFAULT_PATH = "/bin:/usr/bin"

# Errors that let the search go on: this directory has no such command, another one may.
_SEARCH_ON = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENODEV, errno.ESTALE}

_PIPE_BUF = 4096
_LONGEST_PATH = 2048
# Enough for the interpreter line (the kernel reads 256) and for an ELF file's table of segments
# with the loader's name after it.
_HEAD_BYTES = 1024

# inode(7): which bits of st_mode say what a file is, and the value for a regular one.
_FORMAT = 0o170000
_REGULAR = 0o100000


class Execed(Record):
    """The command runs (or its process was killed just before: then its exit says so)."""


class Failed(Record):
    """The child could not become the command.

    `step` is what it was doing ("exec", "cwd", …), `number` the errno, `path` what it tried,
    `mode` the st_mode of what stands there (0: nothing), `head` a file's first bytes.
    """

    number: int
    step: str
    path: str
    mode: int = 0
    head: bytes = b""


def candidates(name: str, environ: Mapping[bytes, bytes]) -> list[str]:
    """List the paths that may be meant by a command's name, in the order to try them."""
    if "/" in name or not name:
        return [name]
    path = environ.get(b"PATH")
    places = DEFAULT_PATH if path is None else text(path)
    return [f"{place}/{name}" if place else name for place in places.split(":")]


def run(paths: list[str], argv: tuple[str, ...], environ: dict[bytes, bytes]) -> Failed:
    """Become the command at one of `paths`; return only the failure that explains most.

    That is one of a file that is there over "not found" elsewhere in PATH. EINVAL stands for what
    no kernel was asked: a NUL byte in an argument, an `=` in a variable's name.
    """
    told: Failed | None = None
    for path in paths:
        try:
            posix.execve(path, argv, environ)  # no shell: run exactly this
        except ValueError:
            return Failed(errno.EINVAL if path else errno.ENOENT, "exec", path)
        except OSError as error:
            failure = examine(error.errno or errno.EINVAL, "exec", path)
        if failure.number not in _SEARCH_ON:
            return failure
        if told is None or (failure.mode and not told.mode):
            told = failure
    return told or Failed(errno.ENOENT, "exec", argv[0])


def examine(number: int, step: str, path: str) -> Failed:
    """Look at what stands at `path`, to say later why it could not be run or entered.

    In the child, since the path may be relative to the worker's directory. An error while
    looking is no second failure: it leaves less to say.
    """
    try:
        mode = posix.stat(path).st_mode
    except OSError:
        return Failed(number, step, path, _mode_of_link(path))
    if mode & _FORMAT != _REGULAR:
        return Failed(number, step, path, mode)
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return Failed(number, step, path, mode)
    try:
        head = posix.read(fd, _HEAD_BYTES)
    except OSError:
        head = b""
    posix.close(fd)
    return Failed(number, step, path, mode, head)


def _mode_of_link(path: str) -> int:
    """Tell a symbolic link to nothing from nothing."""
    try:
        return posix.lstat(path).st_mode
    except OSError:
        return 0


def report(fd: int, failed: Failed) -> None:
    """Write a failure into the exec pipe. Its reader may be gone (EPIPE): then nobody asks."""
    path = encoded(failed.path)[:_LONGEST_PATH]
    fields = (b"%d" % failed.number, failed.step.encode(), path, b"%d" % failed.mode, failed.head)
    try:
        posix.write(fd, b"\0".join(fields)[:_PIPE_BUF])
    except BrokenPipeError:
        return


def read_exec_result(fd: int) -> Execed | Failed | None:
    """Read the parent's end of an exec pipe; None while the child is still on its way.

    The pipe must be non-blocking. `fd` stays the caller's, to be closed at any answer but None.
    """
    try:
        told = posix.read(fd, _PIPE_BUF)
    except BlockingIOError:
        return None
    if not told:
        return Execed()
    number, step, path, mode, head = told.split(b"\0", 4)
    return Failed(int(number), step.decode(), text(path), int(mode), head)


def exit_status_for(number: int) -> int:
    """Say what a shell would exit with: 127 for a command that is not there, else 126."""
    return 127 if number == errno.ENOENT else 126


def text(raw: bytes | str) -> str:
    """Decode as CPython decodes names of files and arguments: without loss, whatever the bytes."""
    if isinstance(raw, str):
        return raw
    return raw.decode(sys.getfilesystemencoding(), "surrogateescape")


def encoded(name: bytes | str) -> bytes:
    """Encode a name of a file, an argument or a variable: the inverse of text()."""
    if isinstance(name, bytes):
        return name
    return name.encode(sys.getfilesystemencoding(), "surrogateescape")
