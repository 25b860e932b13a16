"""What a run is made of, and how it is made of a command line.

A command and a Python callable differ in nothing else: `library` makes the same `Setup`.
"""

from __future__ import annotations

import posix

from srvinit.errors import UsageError
from srvinit.kernel import descriptors
from srvinit.kernel import exec as execing
from srvinit.kernel.spawn import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from srvinit.jobs import JobControl
    from srvinit.kernel.sockets import Inherited
    from srvinit.options import Options


class Setup:
    """What a run is made of.

    `reload` reads the settings again; it raises UsageError with all faults. `mask` is the signal
    mask that srvinit was started with. `make_func` makes, out of the sockets' descriptors, what is
    called in each worker with slot and generation; without it each worker runs `command`.
    """

    __slots__ = (
        "command",
        "cwd",
        "environ",
        "first_sight",
        "inherited",
        "jobs",
        "make_func",
        "mask",
        "options",
        "reload",
        "settled",
    )

    def __init__(  # noqa: PLR0913  all of it differs between the command line and the library
        self,
        options: Options,
        *,
        reload: Callable[[], Options],
        mask: set[int],
        command: tuple[str, ...],
        make_func: Callable[[list[int]], Callable[[int, int], object]] | None = None,
        inherited: list[Inherited] | None = None,
    ) -> None:
        self.options = options
        self.reload = reload
        self.mask = mask
        self.command = command
        self.make_func = make_func
        self.environ = dict(posix.environ)
        # Asked once: after a deployment $PWD leads elsewhere than here, and workers are to follow.
        self.cwd = working_directory(self.environ)
        self.inherited = inherited or []
        self.jobs: JobControl | None = None
        # What recycle.watch names, before a worker is started that may read it.
        self.first_sight = {name: glance(name) for name in options.recycle_watch}
        # Called once the first workers run, and once more at the first rest.
        self.settled: Callable[[], None] = lambda: None

    def home(self) -> str:
        """Return the directory in which relative paths begin, by path: see `working_directory`."""
        try:
            return posix.getcwd() if self.cwd is None else execing.text(self.cwd)
        except OSError:  # ENOENT: it was removed
            return "/"

    def launch(self, options: Options) -> Launch:
        """Make the way to start workers under these settings."""
        return Launch(
            argv=self.command,
            environ=self.environ,
            mask=self.mask,
            cwd=options.worker_cwd or self.cwd,
            ignore_sigint=options.worker_ignore_sigint,
            extra_env=options.worker_env,
            watchdog_s=options.worker_watchdog,
        )

    def fit(self, launch: Launch, count: int, sockets: tuple[tuple[str, str, int], ...]) -> None:
        """Fit the way to start workers to the next one: it gets these sockets, `count` are wanted.

        Only a single one gets srvinit's stdin: several would take each other's input. And it gets
        the terminal only while srvinit has it: a shell may have sent us to the background.
        """
        launch.sockets = sockets
        if self.make_func is not None:
            launch.func = self.make_func([fd for _, _, fd in sockets])
        launch.stdin_is_shared = count == 1
        launch.terminal_fd = self.jobs.launch_fd if self.jobs is not None else None


def for_command(
    options: Options,
    *,
    reload: Callable[[], Options],
    mask: set[int],
    command: list[str],
    environ: Mapping[str, str],
) -> Setup:
    """Make this process fit to be srvinit, and the setup of `srvinit [options] -- COMMAND`.

    Before anything is opened that stays open: it could get the number of a closed stdin.
    """
    descriptors.fill_standard()
    descriptors.mark_close_on_exec()
    setup = Setup(
        options,
        reload=reload,
        mask=mask,
        command=tuple(command),
        inherited=_inherited(environ),
    )
    count = options.worker_count
    if not count.is_auto and count.resolve(1) == 1 and posix.isatty(0):
        from srvinit.jobs import JobControl
        from srvinit.kernel.terminal import Terminal

        terminal = Terminal.find()
        if terminal is not None:
            goes_first = not options.worker_ignore_sigint
            setup.jobs = JobControl(terminal, worker_goes_first=goes_first)
    return setup


def _inherited(environ: Mapping[str, str]) -> list[Inherited]:
    """List the sockets that a manager has opened for us; without one, import nothing to do so."""
    if "LISTEN_FDS" not in environ:
        return []
    from srvinit.kernel import sockets

    return sockets.inherited_fds(environ)


def worker_count(options: Options) -> tuple[int, str]:
    """Work worker.count out; where it is `auto`, also say in words what of."""
    if not options.worker_count.is_auto:
        return options.worker_count.resolve(1), ""
    from srvinit.kernel import cgroup

    cpus, why = cgroup.cpu_limit()
    return options.worker_count.resolve(cpus), why


def check_descriptors(options: Options, count: int) -> None:
    """Refuse a start that would run out of descriptors. Raises UsageError."""
    sockets = len(options.bind) + (options.http is not None)  # whose helper is the second of two
    is_swapped = options.bind_mode == "swapped"
    at_once = 2 * count if is_swapped else count
    needed = descriptors.needed(at_once, sockets, notify=options.worker_require == "notify")
    if options.bind_mode != "shared":
        # Of each address one for each worker, or for all and for their successors; and in the end
        # about as many for the door.
        seats = 10 if is_swapped else 2 * count + options.surge(count) + 4
        needed += sum(bind.kind == "tcp" for bind in options.bind) * seats
    limit = descriptors.limit()
    if 0 <= limit < needed:
        fault = (
            f"{count} workers need {needed} descriptors and the limit is {limit}: raise it "
            f"(ulimit -n {needed}, or the container's nofile) or lower worker.count"
        )
        raise UsageError([fault])


def glance(path: str) -> tuple[int, int, int, int] | None:
    """Look at what a path leads to, in one call: enough to tell that it was swapped meanwhile."""
    try:
        found = posix.stat(path)
    except OSError:  # ENOENT above all; what cannot be seen now may be seen later
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def working_directory(environ: Mapping[bytes, bytes]) -> bytes | None:
    """Say where workers run: $PWD as a path, so that a symlink that moves is followed.

    Only if it does lead here; else nothing is entered, and workers start where srvinit did.
    """
    path = environ.get(b"PWD", b"")
    try:
        if path[:1] == b"/" and _identity(path) == _identity(b"."):
            return path
    except OSError:  # a directory that is gone, or one that may not be looked at
        pass
    return None


def _identity(path: bytes) -> tuple[int, int]:
    found = posix.stat(path)
    return found.st_dev, found.st_ino
