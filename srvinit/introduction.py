"""What is said first: who is here, with what. Worded while the first worker starts already."""

from __future__ import annotations

import posix

from srvinit import __version__, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from srvinit.options import Options
    from srvinit.setup import Setup


def introduction(setup: Setup, count: int, count_why: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the first events; `count` is worker.count worked out, `count_why` of what."""
    options = setup.options
    said = {
        "version": __version__,
        "pid": posix.getpid(),
        "is_init": posix.getpid() == 1,
        "workers": count,
        "count_why": count_why,
        "require": options.worker_require,
        "command": setup.command[0],
        "bind": [bind.text for bind in options.bind],
        "grace": grace_words(options),
    }
    yield "srvinit.started", said
    advice = advice_for(options)
    if advice:
        yield "srvinit.advice", {"advice": advice}


def advice_for(options: Options) -> str:
    """Say what these settings could do better, if anything."""
    if not options.bind or options.worker_require != "online":
        return ""
    return (
        "workers count as ready as soon as they run; for a server set worker.require=listen and "
        "worker.timeout=30s, so that a recycle waits until the new one accepts connections"
    )


def grace_words(options: Options) -> str:
    """Say where the time of a shutdown goes."""
    parts = (
        ("drain", options.shutdown_delay),
        ("stop", options.shutdown_timeout),
        ("margin", options.shutdown_margin),
    )
    spent = ", ".join(f"{name} {words.duration(seconds)}" for name, seconds in parts if seconds)
    whole = options.shutdown_grace_period
    return f"a shutdown: {spent}" + (f" of {words.duration(whole)}" if whole else "")
