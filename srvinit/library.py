"""srvinit as a Python library: run a callable in each of N forked workers.

    def serve(worker):
        loop = asyncio.new_event_loop()
        worker.on("disconnect", lambda: loop.call_soon_threadsafe(loop.stop))
        loop.run_until_complete(asyncio.start_server(answer, sock=worker.sockets[0]))
        loop.run_forever()

    srv(serve, bind=":8080", worker_count=4)

What is imported before `srv` is loaded once and shared by all workers (copy-on-write). A worker is
a fork of this process, so start no threads before: a fork has none of them, and whatever lock they
held stays held.
"""

from __future__ import annotations

import gc
import inspect
import os
import signal
import socket
import threading

from srvinit.options import SIGNAL_NAMES, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

EVENTS = ("disconnect",)


class Worker:
    """What a callable is told about the worker that it is.

    `slot` is its place, 0 to worker.count - 1; `generation` grows by one at every recycle;
    `sockets` are the shared listening sockets, in the order of `bind`.
    """

    def __init__(self, slot: int, generation: int, fds: list[int]) -> None:
        self.slot = slot
        self.generation = generation
        self.sockets = [socket.socket(fileno=fd) for fd in fds]
        self._on_disconnect: list[Callable[[], object]] = []

    def ready(self) -> None:
        """Say that this worker is ready; it is waited for with worker_require="notify"."""
        from srvinit.kernel.notify import tell_manager

        why_not = tell_manager("READY=1", os.environ.get("NOTIFY_SOCKET", ""))
        if why_not is not None:
            raise RuntimeError(f"srvinit cannot be told that the worker is ready: {why_not}")

    def on(self, event: str, callback: Callable[[], object]) -> None:
        """Call `callback()` when the worker is asked to stop ("disconnect", the only event).

        It is called in the main thread, between two of its instructions, like any Python signal
        handler: what waits for that very thread (socketserver's `shutdown()`) goes into a thread
        of its own. The worker ends when the function returns; one that registers no callback gets
        SystemExit instead.
        """
        if event not in EVENTS:
            raise ValueError(f"{event!r} is no event of a worker: expected {', '.join(EVENTS)}")
        self._on_disconnect.append(callback)

    def _disconnect(self, _number: int, _frame: FrameType | None) -> None:
        callbacks, self._on_disconnect = self._on_disconnect, []
        if not callbacks:
            raise SystemExit(0)
        self._on_disconnect.append(_nothing)  # asked again by somebody else: no second call
        for callback in callbacks:
            callback()


def srv(
    first: Callable[..., object] | Options | Mapping[str, object],
    func: Callable[..., object] | None = None,
    /,
    **named: object,
) -> None:
    """Run `func(worker)`, or `func()` if it takes no argument, in each forked worker.

    Three ways to call it: `srv(func)`; `srv(func, worker_count=4, bind=":8080")`; `srv(options,
    func)` with `Options` or a nested dict, {"worker": {"count": 4}, "recycle": {"timeout": 15}}.
    The environment and files are not read: what is not given has its default.

    Blocks until the workers have stopped, then returns; raises SystemExit with srvinit's exit
    status where that is not 0. Raises UsageError if the options are refused (all faults at once).
    To be called from the main thread. All children of this process are waited for here.
    """
    options, target = _settle(first, func, named)
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("srv() must be called from the main thread: signals arrive there")
    status = _run(options, target)
    if status:
        raise SystemExit(status)


def _settle(
    first: Callable[..., object] | Options | Mapping[str, object],
    func: Callable[..., object] | None,
    named: dict[str, object],
) -> tuple[Options, Callable[..., object]]:
    """Sort out the three ways to call srv."""
    if callable(first):
        if func is not None:
            raise TypeError("srv() takes one function; options come first: srv(options, func)")
        return Options(**named), first
    if not callable(func):
        raise TypeError("srv() needs a function: srv(func) or srv(options, func)")
    if named:
        raise TypeError("srv() takes options as its first argument or by name, not both ways")
    return (first if isinstance(first, Options) else Options.from_dict(first)), func


def _run(options: Options, func: Callable[..., object]) -> int:
    """Block the signals, supervise, and leave the process as it was."""
    from srvinit import setup, starting, supervisor  # noqa: F401  shared by all workers
    from srvinit.kernel import descriptors, signals

    descriptors.fill_standard()
    mask = signals.block()
    try:
        gc.collect()
        gc.freeze()  # else the first collection in each worker copies every page it looks at
        run = setup.Setup(
            options,
            reload=lambda: options,
            mask=mask,
            command=(f"{func.__module__}.{getattr(func, '__qualname__', repr(func))}",),
            make_func=lambda fds: _entry(func, fds, options.worker_stop_signal),
        )
        return starting.run(run)
    finally:
        gc.unfreeze()
        signals.release(mask)


def _entry(
    func: Callable[..., object], fds: list[int], stop_signal: str
) -> Callable[[int, int], object]:
    """Make what a forked worker calls with its slot and generation."""

    def enter(slot: int, generation: int) -> object:
        worker = Worker(slot, generation, fds)
        signal.signal(SIGNAL_NAMES[stop_signal], worker._disconnect)  # noqa: SLF001
        return func(worker) if _takes_worker(func) else func()

    return enter


def _takes_worker(func: Callable[..., object]) -> bool:
    """Tell whether the function wants the worker; one that cannot be asked does."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(
        parameter.kind
        in {
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.VAR_POSITIONAL,
        }
        for parameter in parameters
    )


def _nothing() -> None:
    """Be called when a worker is asked to stop once more."""
