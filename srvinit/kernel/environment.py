"""environ(7): what a worker is told about its sockets, itself and its manager.

Every widely spoken protocol at once, each named by its source: LISTEN_* (sd_listen_fds(3)),
SERVER_STARTER_* (Perl's Server::Starter), EINHORN_* (Stripe's einhorn), NOTIFY_SOCKET and
WATCHDOG_* (sd_notify(3), sd_watchdog_enabled(3)), SRVINIT_*. It must never pass on what another
manager told srvinit itself: it would name descriptors and processes that are not the worker's.
"""

from __future__ import annotations

import posix

from srvinit.kernel.exec import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.kernel.spawn import Launch

FIRST_SOCKET_FD = 3

# EINHORN_FDS, EINHORN_FD_COUNT and EINHORN_FD_<n> go by their prefix.
_STALE_PREFIX = b"EINHORN_FD"
_STALE = (
    b"LISTEN_FDS",
    b"LISTEN_PID",
    b"LISTEN_PIDFDID",
    b"LISTEN_FDNAMES",
    b"SERVER_STARTER_PORT",
    b"SERVER_STARTER_GENERATION",
    b"SRVINIT_WORKER",
    b"SRVINIT_GENERATION",
    b"NOTIFY_SOCKET",
    b"WATCHDOG_USEC",
    b"WATCHDOG_PID",
    b"",  # execve(2) would take it, CPython's refuses; nobody sets it on purpose
)

# What sd_listen_fds_with_names(3) calls a socket that has no name.
_NAMELESS = "unknown"


def for_worker(
    launch: Launch, slot: int, generation: int, notify_path: str | None, fds: tuple[int, ...]
) -> dict[bytes, bytes]:
    """Make a worker's environment, in its own process: LISTEN_PID is the pid that asks.

    `fds` are the descriptors that hold `launch.sockets` there. A later source wins: what srvinit
    was given, what it tells, what worker.env sets; so worker.env can hide a protocol from a server
    that would follow two of them at once.
    """
    environ = without_stale(launch.environ)
    environ |= _encoded(_identity(launch, slot, generation, notify_path))
    if fds:
        environ |= _encoded(_sockets(launch, generation, fds))
    return environ | _encoded(dict(launch.extra_env))


def without_stale(environ: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Take out what was meant for srvinit alone. What a bundle adds, packaging/start.py undoes."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _STALE and not name.startswith(_STALE_PREFIX)
    }


def _identity(
    launch: Launch, slot: int, generation: int, notify_path: str | None
) -> dict[str, str | bytes]:
    told: dict[str, str | bytes] = {
        "SRVINIT_WORKER": str(slot),
        "SRVINIT_GENERATION": str(generation),
    }
    if launch.cwd is not None and launch.cwd[:1] in {"/", b"/"}:
        told["PWD"] = launch.cwd  # the path, not what its links lead to: a release may move
    if notify_path is not None:
        told["NOTIFY_SOCKET"] = notify_path
    if launch.watchdog_s > 0:
        told["WATCHDOG_USEC"] = str(round(launch.watchdog_s * 1_000_000))
        told["WATCHDOG_PID"] = str(posix.getpid())
    return told


def _sockets(launch: Launch, generation: int, fds: tuple[int, ...]) -> dict[str, str | bytes]:
    """Say where the sockets are. LISTEN_FDS can only say "from 3 on": else it is left out."""
    ports = [
        f"{_starter_name(address)}={fd}"
        for (_, address, _), fd in zip(launch.sockets, fds, strict=True)
        if not address.startswith("udp:")  # Server::Starter knows streams alone
    ]
    told: dict[str, str | bytes] = {"EINHORN_FD_COUNT": str(len(fds))}
    told |= {f"EINHORN_FD_{place}": str(fd) for place, fd in enumerate(fds)}
    if ports:
        told["SERVER_STARTER_PORT"] = ";".join(ports)
        told["SERVER_STARTER_GENERATION"] = str(generation)
    if fds == tuple(range(FIRST_SOCKET_FD, FIRST_SOCKET_FD + len(fds))):
        told["LISTEN_FDS"] = str(len(fds))
        told["LISTEN_PID"] = str(posix.getpid())
        told["LISTEN_FDNAMES"] = ":".join(name or _NAMELESS for name, _, _ in launch.sockets)
    return told


def _starter_name(address: str) -> str:
    """Name a socket as start_server(1) does: "8080", "127.0.0.1:8080", "/run/web.sock"."""
    return address.removeprefix("unix:").removeprefix(":")


def _encoded(told: dict[str, str | bytes] | dict[str, str]) -> dict[bytes, bytes]:
    return {encoded(name): encoded(value) for name, value in told.items()}
