"""The first lines of the frozen programs: what stands where `python -m srvinit` has `__main__`.

packaging/launcher.c has blocked the signals and hidden a part of the environment. Here the
environment is made again what srvinit was given, before a line of srvinit sees it, and srvinit's
modules on the way to the first worker's exec are taken from one file in one go: finding, opening
and unpacking them one by one takes longer than all the rest of the way.
"""

import _signal
import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import ModuleType

EARLY_FILE, CTL_FILE, LATE_FILE = "early.code", "ctl.code", "late.code"
KEPT = b"_SRVINIT_KEPT_"
FOUND = b"_SRVINIT_FOUND"
BOOTLOADER = b"_PYI_"
_MODULE = type(sys)


class LateModules:
    """Finds and loads what the way to the first worker's exec does not need (importlib's terms)."""

    def __init__(self, path: str, index: dict[str, tuple[bool, int, int]]) -> None:
        self._path = path
        self._index = index

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        """Find a module; what is not here is for the next finder."""
        found = self._index.get(name)
        return ModuleSpec(name, self, is_package=found[0]) if found else None

    def create_module(self, _spec: object) -> None:
        """Have Python make the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code."""
        _, offset, length = self._index[module.__name__]
        fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        marshalled = posix.pread(fd, length, offset)
        posix.close(fd)
        exec(marshal.loads(marshalled), module.__dict__)  # noqa: S102, S302  our own


class SupervisorsModules:
    """Finds and loads, for srvinitctl, what srvinit imports at once: it is in no other file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._early: dict[str, tuple[bool, object]] = {}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        """Find a module; the first that is looked for here has the whole file read."""
        if not self._early:
            early, _ = _read(self._path)
            self._early = {name: (is_package, code) for name, is_package, code, _parent in early}
        found = self._early.get(name)
        return ModuleSpec(name, self, is_package=found[0]) if found else None

    def create_module(self, _spec: object) -> None:
        """Have Python make the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code."""
        exec(self._early[module.__name__][1], module.__dict__)  # noqa: S102  our own


def _read(
    path: str,
) -> tuple[list[tuple[str, bool, object, str]], dict[str, tuple[bool, int, int]]]:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    marshalled = posix.read(fd, posix.fstat(fd).st_size)
    posix.close(fd)
    return marshal.loads(marshalled)  # type: ignore[no-any-return]  # noqa: S302  our own


def import_early(folder: str, file: str) -> None:
    """Import in one go what is needed at once, without importlib.

    Each module comes after those it imports, so it finds them in sys.modules.
    """
    early, index = _read(f"{folder}/{file}")
    sys.meta_path.insert(0, LateModules(f"{folder}/{LATE_FILE}", index))
    for name, is_package, code, parent in early:
        module = sys.modules[name] = _MODULE(name)
        module.__package__ = name if is_package else parent
        if is_package:
            module.__path__ = []
        exec(code, module.__dict__)  # noqa: S102  that is to import it
        if parent:
            setattr(sys.modules[parent], name[len(parent) + 1 :], module)


def give_back(environ: "MutableMapping[bytes, bytes]") -> tuple[set[int], set[int]]:
    """Make the environment what srvinit was given.

    Return what else was found: the signal mask, and which signals were ignored.
    """
    mask, ignored = (_numbers(bits) for bits in environ.pop(FOUND, b"0 0").split())
    for name in list(environ):
        if name.startswith(BOOTLOADER):
            del environ[name]
    for name in list(environ):
        if name.startswith(KEPT):
            environ[name[len(KEPT) :]] = environ.pop(name)
    return mask, ignored


def _numbers(bits: bytes) -> set[int]:
    whole = int(bits, 16)
    return {bit + 1 for bit in range(64) if whole >> bit & 1}


def main() -> int:
    """Run srvinit, or srvinitctl where that was started; return its exit status."""
    mask, ignored = give_back(posix.environ)
    gc.disable()  # nothing here is garbage: looking for it takes 1 ms
    return _control(mask) if sys.argv[0].endswith("/srvinitctl") else _supervise(mask, ignored)


def _supervise(mask: set[int], ignored: set[int]) -> int:
    import_early(sys._MEIPASS, EARLY_FILE)  # type: ignore[attr-defined]  # noqa: SLF001
    from srvinit import cli
    from srvinit.kernel import signals

    signals.ignored_before_python |= ignored
    signals.block()
    gc.freeze()  # what is loaded stays: the first collection need not walk through all of it
    gc.enable()
    return cli.main(sys.argv[1:], mask)


def _control(mask: set[int]) -> int:
    """Take in signals like any program: the launcher has blocked them for srvinit's sake."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    folder = sys._MEIPASS  # type: ignore[attr-defined]  # noqa: SLF001
    import_early(folder, CTL_FILE)
    sys.meta_path.append(SupervisorsModules(f"{folder}/{EARLY_FILE}"))
    from srvinit import ctl

    return ctl.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
