"""The first lines of the frozen programs: what stands where `python -m srvinit` has `__main__`.

packaging/launcher.c has blocked the signals and hidden a part of the environment. Here the
environment is made again what srvinit was given, before a line of srvinit sees it, and srvinit's
modules on the way to the first worker's exec are taken from one piece in one go: finding, opening
and unpacking them one by one takes longer than all the rest of the way. What is needed later is
found in another piece, module by module. Both lie within the program (bootloader.c).
"""

import _signal
import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

import _bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import ModuleType

KEPT = b"_SRVINIT_KEPT_"
FOUND = b"_SRVINIT_FOUND"
_MODULE = type(sys)


class LateModules:
    """Finds and loads what the way to the first worker's exec does not need (importlib's terms)."""

    def __init__(self, index: dict[str, tuple[bool, int, int]]) -> None:
        self._index = index

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        """Find a module; what is not here is for the next finder."""
        found = self._index.get(name)
        return ModuleSpec(name, self, is_package=found[0]) if found else None

    def create_module(self, _spec: object) -> None:
        """Have Python make the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code."""
        _, begin, end = self._index[module.__name__]
        code = marshal.loads(_bundle.LATE[begin:end])  # noqa: S302  our own
        exec(code, module.__dict__)  # noqa: S102  that is to import it


class SupervisorsModules:
    """Finds and loads, for srvinitctl, what srvinit imports at once: it is in no other piece."""

    def __init__(self) -> None:
        self._early: dict[str, tuple[bool, object]] = {}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        """Find a module; the first that is looked for here has the whole piece read."""
        if not self._early:
            early, _ = marshal.loads(_bundle.EARLY)  # noqa: S302  our own
            self._early = {name: (is_package, code) for name, is_package, code, _parent in early}
        found = self._early.get(name)
        return ModuleSpec(name, self, is_package=found[0]) if found else None

    def create_module(self, _spec: object) -> None:
        """Have Python make the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code."""
        exec(self._early[module.__name__][1], module.__dict__)  # noqa: S102  our own


def import_early(piece: memoryview) -> None:
    """Import in one go what is needed at once, without importlib.

    Each module comes after those it imports, so it finds them in sys.modules.
    """
    early, index = marshal.loads(piece)  # noqa: S302  our own
    sys.meta_path.insert(0, LateModules(index))
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
    import_early(_bundle.EARLY)
    from srvinit import cli
    from srvinit.kernel import signals

    signals.ignored_before_python |= ignored
    signals.block()
    return cli.main(sys.argv[1:], mask, settled=settle)


def _control(mask: set[int]) -> int:
    """Take in signals like any program: the launcher has blocked them for srvinit's sake."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    import_early(_bundle.CTL)
    sys.meta_path.append(SupervisorsModules())
    from srvinit import ctl

    gc.enable()
    return ctl.main(sys.argv[1:])


def settle() -> None:
    """End what hastened the start, and give back what only that needed; a worker runs by now."""
    gc.collect()  # of what was imported: classes that have been replaced, and the like
    gc.freeze()  # what is left stays: no later collection need walk through it
    gc.enable()
    _bundle.give_back_memory()


if __name__ == "__main__":
    sys.exit(main())
