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

# Known in the child alone. No value can have a NUL byte, so none is taken for this.
_OWN_PID = b"\0its own pid"
_WANT_PID = (b"LISTEN_PID", b"WATCHDOG_PID")

# What sd_listen_fds_with_names(3) calls a socket that has no name.
_NAMELESS = "unknown"


def for_worker(
    launch: Launch, slot: int, generation: int, notify_path: str | None, fds: tuple[int, ...]
) -> dict[bytes, bytes]:
    """Make a worker's environment, before its fork; `tell_pid` completes it after.

    A child pays 3 us for each page that it is the first to write to: this took it 0.15 ms.
    `fds` are the descriptors that hold `launch.sockets` there. A later source wins: what srvinit
    was given, what it tells, what worker.env sets; so worker.env can hide a protocol from a server
    that would follow two of them at once.
    """
    environ = without_stale(launch.environ)
    environ |= _identity(launch, slot, generation, notify_path)
    if fds:
        environ |= _sockets(launch, generation, fds)
    for name, value in launch.extra_env:
        environ[encoded(name)] = encoded(value)
    return environ


def tell_pid(environ: dict[bytes, bytes]) -> None:
    """Put in the pid of this process, the worker's, where a protocol asks for it."""
    for name in _WANT_PID:
        if environ.get(name) == _OWN_PID:
            environ[name] = b"%d" % posix.getpid()


def without_stale(environ: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Take out what was meant for srvinit alone. What a bundle adds, packaging/start.py undoes."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _STALE and not name.startswith(_STALE_PREFIX)
    }


def _identity(
    launch: Launch, slot: int, generation: int, notify_path: str | None
) -> dict[bytes, bytes]:
    told = {b"SRVINIT_WORKER": b"%d" % slot, b"SRVINIT_GENERATION": b"%d" % generation}
    if launch.cwd is not None and launch.cwd[:1] in {"/", b"/"}:
        told[b"PWD"] = encoded(launch.cwd)  # not what its links lead to: a release may move
    if notify_path is not None:
        told[b"NOTIFY_SOCKET"] = encoded(notify_path)
    if launch.watchdog_s > 0:
        told[b"WATCHDOG_USEC"] = b"%d" % round(launch.watchdog_s * 1_000_000)
        told[b"WATCHDOG_PID"] = _OWN_PID
    return told


def _sockets(launch: Launch, generation: int, fds: tuple[int, ...]) -> dict[bytes, bytes]:
    """Say where the sockets are. LISTEN_FDS can only say "from 3 on": else it is left out."""
    ports = [
        f"{_starter_name(address)}={fd}"
        for (_, address, _), fd in zip(launch.sockets, fds, strict=True)
        if not address.startswith("udp:")  # Server::Starter knows streams alone
    ]
    told = {b"EINHORN_FD_COUNT": b"%d" % len(fds)}
    told |= {b"EINHORN_FD_%d" % place: b"%d" % fd for place, fd in enumerate(fds)}
    if ports:
        told[b"SERVER_STARTER_PORT"] = encoded(";".join(ports))
        told[b"SERVER_STARTER_GENERATION"] = b"%d" % generation
    if fds == tuple(range(FIRST_SOCKET_FD, FIRST_SOCKET_FD + len(fds))):
        told[b"LISTEN_FDS"] = b"%d" % len(fds)
        told[b"LISTEN_PID"] = _OWN_PID
        told[b"LISTEN_FDNAMES"] = encoded(
            ":".join(name or _NAMELESS for name, _, _ in launch.sockets)
        )
    return told


def _starter_name(address: str) -> str:
    """Name a socket as start_server(1) does: "8080", "127.0.0.1:8080", "/run/web.sock"."""
    return address.removeprefix("unix:").removeprefix(":")
