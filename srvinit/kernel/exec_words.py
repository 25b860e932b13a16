"""Why a command did not start, in words: worked out in the parent, from what the child saw.

Nothing here touches a file: the path may mean something else in the parent's directory, and the
file may have changed since. What it rests on: execve(2), ERRORS, for what an errno can mean, and
elf(5) for the layout of the file's head.
"""

from __future__ import annotations

import errno
import posix

from srvinit.kernel.exec import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.kernel.exec import Failed

# inode(7): what st_mode says of a file.
_FORMAT = 0o170000
_DIRECTORY = 0o040000
_SYMLINK = 0o120000
_ANY_EXECUTE = 0o111

# e_machine of elf(5), by the names of uname(2).
_MACHINES = {
    3: "i686",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
}
_PT_INTERP = 3


def explain(failed: Failed, argv0: str) -> str:
    """Say in words why the command did not start, naming the file and what is wrong with it."""
    if failed.step != "exec":
        return f"{failed.step} {failed.path}: {_strerror(failed.number)}"
    path = failed.path
    if failed.number == errno.ENOENT:
        return _explain_missing(failed, argv0)
    if failed.number == errno.EACCES:
        return f"{path}: {_why_denied(failed)}"
    if failed.number == errno.ENOEXEC:
        return f"{path}: {_why_not_executable(failed.head)}"
    if failed.number == errno.EINVAL:
        return f"{path}: an argument or a variable for it holds a NUL byte, or a name an ="
    return f"{path}: {_strerror(failed.number)}"


def _explain_missing(failed: Failed, argv0: str) -> str:
    path = failed.path
    if failed.mode & _FORMAT == _SYMLINK:
        return f"{path}: a symbolic link to nothing"
    if not failed.mode:
        named = argv0 or "the empty command"
        return f"{path}: no such file" if "/" in argv0 else f"{named}: not found in PATH"
    interpreter = _interpreter(failed.head)
    if interpreter.endswith("\r"):
        return (
            f"{path}: its #! line names the interpreter {interpreter!r}, with a carriage return: "
            "the file has Windows line ends"
        )
    if interpreter:
        return f"{path}: its #! line names the interpreter {interpreter!r}, which does not exist"
    loader = _elf_loader(failed.head)
    if loader:
        return f"{path}: its loader {loader!r} does not exist: it was built for another system"
    return f"{path}: the file is there, but something it needs to start is not"


def _why_denied(failed: Failed) -> str:
    if failed.mode & _FORMAT == _DIRECTORY:
        return "is a directory"
    if not failed.mode:
        return "permission denied on the way to it"
    if not failed.mode & _ANY_EXECUTE:
        return f"is not executable (mode {failed.mode & 0o7777:04o})"
    interpreter = _interpreter(failed.head)
    whose = f", on its interpreter {interpreter!r}," if interpreter else ""
    return f"permission denied on it{whose} or by a noexec mount"


def _why_not_executable(head: bytes) -> str:
    if head.startswith(b"\x7fELF"):
        built_for, here = _elf_machine(head), posix.uname().machine
        damaged = "is a damaged executable"
        return damaged if built_for == here else f"is built for {built_for}, this machine is {here}"
    if head.startswith(b"#!"):
        interpreter = _interpreter(head)
        if interpreter:
            return f"its #! line names {interpreter!r}, itself no executable of this system"
        return "its #! line names no interpreter"
    if head.startswith(b"\xef\xbb\xbf#!"):
        return "a byte order mark stands before its #! line"
    if not head:
        return "is empty, or cannot be read to say what it is"
    return "has no #! line and is no executable of this system"


def _interpreter(head: bytes) -> str:
    """Return what the #! line names; empty if there is none. A carriage return belongs to it."""
    if not head.startswith(b"#!"):
        return ""
    line = head[2:].split(b"\n", 1)[0].strip(b" \t").replace(b"\t", b" ")
    return text(line.split(b" ", 1)[0])


def _elf_number(head: bytes, at: int, size: int) -> int:
    """Read an unsigned number in the file's own byte order (EI_DATA, elf(5))."""
    return int.from_bytes(head[at : at + size], "big" if head[5:6] == b"\x02" else "little")


def _elf_machine(head: bytes) -> str:
    """Name the architecture that an ELF file was built for."""
    number = _elf_number(head, 18, 2)
    return _MACHINES.get(number, f"another architecture (ELF machine {number})")


def _elf_loader(head: bytes) -> str:
    """Return the loader that an ELF file names (PT_INTERP, elf(5)); empty if it is not in `head`.

    Offsets differ between 64 and 32 bits: e_phoff, e_phentsize, e_phnum; p_offset, p_filesz.
    """
    if not head.startswith(b"\x7fELF"):
        return ""
    wide = head[4:5] == b"\x02"
    word = 8 if wide else 4
    table, entry_at, offset_at, size_at = (32, 54, 8, 32) if wide else (28, 42, 4, 16)
    first = _elf_number(head, table, word)
    entry_size = _elf_number(head, entry_at, 2)
    for place in range(_elf_number(head, entry_at + 2, 2)):
        entry = first + place * entry_size
        if _elf_number(head, entry, 4) == _PT_INTERP:
            start = _elf_number(head, entry + offset_at, word)
            end = start + _elf_number(head, entry + size_at, word)
            return text(head[start:end].rstrip(b"\0")) if end <= len(head) else ""
    return ""


def _strerror(number: int) -> str:
    return f"{posix.strerror(number)} ({errno.errorcode.get(number, str(number))})"
