"""Every setting: its name, type, default and meaning, and whether a set of them makes sense.

The body of `Options` is the one place where a setting is declared; the command line, the
environment, the file, the help text and docs/settings.md are all derived from it.

Nothing here reads argv, the environment or a file: that is `sources`. Only built-in C modules are
imported: all of this runs before the first worker's exec.
"""

from __future__ import annotations

from srvinit.errors import UsageError
from srvinit.record import Record
from srvinit.settings.meanings import DEFAULT_MEANINGS, MEANINGS, SIGNAL_NAMES, meaning, stop_signal
from srvinit.settings.table import (
    GROUPS,
    JUDGED_TOGETHER,
    SETTINGS,
    Given,
    Setting,
    distinct_binds,
    distinct_names,
    distinct_paths,
    meanings_by_signal,
    repeatable,
    setting,
)
from srvinit.settings.values import (
    Count,
    Portion,
    Size,
    address,
    boolean,
    choice,
    count,
    duration,
    duration_or_none,
    duration_or_off,
    endpoint_or_none,
    pair,
    path,
    path_or_none,
    plain,
    portion,
    size_or_off,
    some_duration,
    whole,
    whole_or_none,
    whole_or_off,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from srvinit.settings.addresses import Bind

__all__ = [
    "DEFAULT_MEANINGS",
    "GROUPS",
    "MEANINGS",
    "SETTINGS",
    "SIGNAL_NAMES",
    "Count",
    "Given",
    "Options",
    "Portion",
    "Setting",
    "Size",
]


class Options:
    """What the user asked for: one attribute per setting, each valid, all of them consistent.

    Make one with `Options(recycle_timeout="15s")`, or from nested tables with `from_dict`.
    Durations are seconds. Raises UsageError with every fault.
    """

    worker_count: Count = setting(
        count,
        "4",
        "workers, or auto: the CPU limit; `auto` is the cgroup's CPU limit rounded up (else the "
        "affinity mask), `auto*2`, `auto+1` and `auto*2+1` work too; worked out anew at every "
        "SIGHUP",
        short="-w",
        metavar="N",
        aka="workers",
    )
    worker_require: str = setting(
        choice("online", "listen", "notify"),
        "online",
        "what ready means: online, listen, notify; `online`: running (exec succeeded, or the "
        "callable is entered), `listen`: accepting on a shared socket, `notify`: it sent "
        "sd_notify READY=1. A web server wants `listen`",
        metavar="WHAT",
    )
    worker_timeout: float = setting(
        some_duration,
        "2s",
        "time to become ready; a worker that takes longer is killed and started anew. A web "
        "server wants 30s",
    )
    worker_stop_signal: str = setting(
        stop_signal, "TERM", "what asks a worker to stop gracefully", metavar="SIGNAL"
    )
    worker_signal_group: bool = setting(
        boolean,
        "false",
        "signal its whole process group, not its leader; the stop signal and forwarded signals, "
        "that is: SIGKILL always goes to the group",
    )
    worker_ignore_sigint: bool = setting(
        boolean, "true", "start with SIGINT ignored; Ctrl-C reaches srvinit alone"
    )
    worker_cwd: str | None = setting(
        path_or_none,
        None,
        "where it runs; entered anew, by path, at every start: a release symlink that moved is "
        "followed",
        metavar="DIR",
        default_text="$PWD",
    )
    worker_env: tuple[tuple[str, str], ...] = repeatable(
        pair,
        distinct_names,
        "a variable for workers alone; values are never logged",
        metavar="NAME=VALUE",
        separator="\n",
        is_secret=True,
    )
    worker_watchdog: float = setting(
        duration_or_off,
        "off",
        "longest silence of a worker that sends WATCHDOG=1; needs `worker.require=notify`. A "
        "worker silent for longer is hung: SIGABRT for its stack dump, then SIGKILL; never after "
        "srvinit itself was suspended",
    )
    worker_max_age: float = setting(
        duration_or_off,
        "off",
        "recycle a worker that is older; with jitter (up to a tenth less), and one at a time",
    )
    worker_max_memory: Size | None = setting(
        size_or_off,
        "off",
        "recycle a worker that is larger; by the RSS of its process group, in three looks in a "
        "row, 5 s apart. `512MiB`, `512Mi`, `1.5GB`, or `40%` of the container's limit. The "
        "largest goes first, one at a time, and the same slot again after 5 min at the earliest",
        metavar="SIZE",
    )
    worker_quiesce: float = setting(
        duration,
        "300ms",
        "steered, swapped: time to read what it has accepted; how long a worker that gets no new "
        "connections any more has before its stop signal",
    )
    worker_max_queue: int = setting(
        whole_or_off(2**31 - 1),
        "off",
        "steered: send no more to a worker that takes none; while so many wait (docs/steering.md)",
        metavar="N",
    )

    bind: tuple[Bind, ...] = repeatable(
        address,
        distinct_binds,
        "listen on :8080, HOST:PORT, unix:PATH, ...; `[NAME=]:8080`, `HOST:PORT`, `[::]:8080`, "
        "`unix:PATH`, `udp:HOST:PORT`, `fd:N` (already inherited). Workers get the sockets as fds "
        "3, 4, ... in this order",
        short="-b",
        metavar="ADDRESS",
        aka="listen",
    )
    bind_backlog: int | None = setting(
        whole_or_none(1, 2**31 - 1),
        None,
        "listen(2) backlog; set back after a worker is ready, since several servers lower it on "
        "the shared socket",
        default_text="somaxconn",
    )
    bind_nodelay: bool = setting(
        boolean,
        "true",
        "TCP_NODELAY on the sockets; servers that take an inherited fd for a Unix socket (uvicorn "
        "--fd) need 43 ms a kept-alive answer without it, under 1 ms with it",
    )
    bind_nonblocking: bool = setting(
        boolean,
        "false",
        "create the sockets non-blocking; nginx takes an inherited socket for such and hangs in "
        "accept otherwise. Programs that wait in accept itself must not have it: they end of "
        "EAGAIN. Inherited sockets stay as they are",
    )
    bind_mode: str = setting(
        choice("shared", "steered", "swapped"),
        "shared",
        "shared, steered, swapped; one queue for all workers; one for each TCP worker, and the "
        "kernel is steered away from it before it is stopped; or one for all, and a recycle brings "
        "another with all workers at once (docs/steering.md). Cannot change on SIGHUP",
        metavar="MODE",
    )

    recycle_timeout: float = setting(duration, "15s", "time a retired worker has to stop")
    recycle_max_surge: Portion = setting(
        portion, "1", "live workers above count; a number or a percentage, rounded up"
    )
    recycle_max_unavailable: Portion = setting(
        portion,
        "0",
        "ready workers below count; a number or a percentage, rounded down. `max_surge=0, "
        "max_unavailable=1` recycles where memory has no room for one more",
    )
    recycle_settle: float = setting(
        duration,
        "1s",
        "ready this long before the old one is retired; a worker that dies right after its start "
        "never replaces a good one",
    )
    recycle_retries: int = setting(
        whole(1, 1_000_000),
        "3",
        "failures of new workers before it is given up; the old ones stay",
    )
    recycle_watch: tuple[str, ...] = repeatable(
        path,
        distinct_paths,
        "recycle when this file or directory changes; as on SIGHUP, once it has been quiet for a "
        "second: a mounted ConfigMap or Secret, a certificate, the settings file. Of a directory "
        "the entries count, not what is in its subdirectories; not one that workers write to",
        metavar="PATH",
    )

    restart_delay: float = setting(
        duration,
        "5s",
        "wait before a replacement; a worker that was ready and exits 0 has not crashed "
        "(max-requests, say): its slot is filled at once",
    )
    restart_policy: str = setting(
        choice("always", "on-failure", "never"),
        "always",
        "always, on-failure, never; `never` is plain init: exit with the command's own status",
        metavar="WHEN",
    )
    restart_limit: int = setting(
        whole(0, 1_000_000), "10", "failures in a row before srvinit exits; 0 is never"
    )
    restart_reset: float = setting(
        duration, "10s", "ready this long, a worker ends the row of failures"
    )

    shutdown_timeout: float = setting(
        duration,
        "15s",
        "time the workers have to stop; where `shutdown.grace_period` is set and this is not, it "
        "is what the budget leaves",
    )
    shutdown_delay: float = setting(
        duration,
        "0s",
        "drain: serve on, unready, before stopping; so that endpoint removal can spread",
    )
    shutdown_grace_period: float | None = setting(
        duration_or_none,
        None,
        "the whole budget; terminationGracePeriodSeconds minus any preStop time. delay + timeout "
        "+ margin must fit, or srvinit refuses to start and says the sum",
    )
    shutdown_margin: float = setting(
        duration, "1s", "kept back for SIGKILL and the sweep; and for the exit"
    )

    signal: dict[str, str] = repeatable(
        meaning,
        meanings_by_signal,
        "what a signal does; `QUIT=shutdown`: shutdown, interrupt, recycle, scale-up, scale-down, "
        "forward, ignore or another signal's name",
        metavar="SIG=WHAT",
        default_text="TERM=shutdown, ...",
    )

    log_format: str = setting(
        choice("auto", "json", "console"),
        "auto",
        "json, console, auto; `auto` is `console` on a terminal, `json` elsewhere",
        metavar="FORMAT",
    )
    log_level: str = setting(
        choice("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning, error; the least that is logged",
        metavar="LEVEL",
    )
    http: Bind | None = setting(
        endpoint_or_none,
        None,
        "address of the probe and metrics endpoint; `/livez`, `/readyz`, `/metrics`, `/status` at "
        "`:9090`, `127.0.0.1:9090`, `[::1]:9090` or `unix:PATH`, served by a child of its own",
        metavar="ADDRESS",
    )

    sources: dict[str, str]  # where each setting that is no default comes from, by name

    def __init__(self, **named: object) -> None:
        by_attribute = {row.attribute: name for name, row in SETTINGS.items()}
        given: dict[str, Given] = {}
        faults: list[str] = []
        for attribute, value in named.items():
            if attribute in by_attribute:
                given[by_attribute[attribute]] = Given(value, attribute)
            else:
                from srvinit.settings.spelling import guess

                hint = guess(attribute, lambda row: row.attribute)
                faults.append(f"{attribute}: unknown setting{hint}")
        self._settle(given, faults)

    @classmethod
    def from_dict(cls, nested: Mapping[str, object]) -> Options:
        """Make options from nested tables, as a TOML file has: {"recycle": {"timeout": 15}}."""
        from srvinit.settings.nested import flatten

        faults: list[str] = []
        return cls.from_given(flatten(nested, plain, faults), faults)

    @classmethod
    def from_given(
        cls, given: dict[str, Given], faults: list[str], *, inherits_sockets: bool = False
    ) -> Options:
        """Make options from values that know their sources; `faults` found before come first.

        `inherits_sockets`: sockets come with the environment (LISTEN_FDS), so none need be bound.
        """
        options = cls.__new__(cls)
        cls._settle(options, given, faults, inherits_sockets=inherits_sockets)
        return options

    def _settle(
        self, given: dict[str, Given], faults: list[str], *, inherits_sockets: bool = False
    ) -> None:
        self.sources = {name: given[name].source for name in SETTINGS if name in given}
        doubtful: set[str] = set()
        for name, row in SETTINGS.items():
            if name not in given:
                setattr(self, row.attribute, row.default_value())
                continue
            before = len(faults)
            setattr(self, row.attribute, row.value_of(given[name], faults))
            if len(faults) > before:
                doubtful.add(name)
        if not JUDGED_TOGETHER.isdisjoint(given):
            from srvinit.settings.consistency import contradictions, time_left_to_stop

            faults += contradictions(self, doubtful, inherits_sockets=inherits_sockets)
            if not faults and "shutdown.timeout" not in given:
                self.shutdown_timeout = time_left_to_stop(self)
        if faults:
            raise UsageError(faults)

    def surge(self, count: int) -> int:
        """Return how many live workers a recycle may have above `count`."""
        surge = self.recycle_max_surge.of(count, round_up=True)
        return max(surge, count) if self.bind_mode == "swapped" else surge

    def unavailable(self, count: int) -> int:
        """Return how many ready workers a recycle may have below `count`.

        Where both portions come to nothing it is one, as in a Deployment: a recycle must get on.
        """
        missing = self.recycle_max_unavailable.of(count, round_up=False)
        return min(max(missing, 0 if self.surge(count) else 1), count)

    def changed(self, other: Options) -> list[str]:
        """Return the names of the settings that differ in `other`."""
        return [
            name
            for name, row in SETTINGS.items()
            if getattr(self, row.attribute) != getattr(other, row.attribute)
        ]

    def describe(self) -> dict[str, object]:
        """Return all settings by name as JSON values, for a log: no value that may be secret."""
        described: dict[str, object] = {}
        for name, row in SETTINGS.items():
            value = getattr(self, row.attribute)
            if isinstance(value, Record):
                value = str(value)
            elif row.is_secret:
                value = [entry[0] for entry in value]
            elif isinstance(value, tuple):
                value = [str(entry) for entry in value]
            elif isinstance(value, dict):
                value = {key: to for key, to in value.items() if to != DEFAULT_MEANINGS[key]}
            described[name] = value
        return described

    def __repr__(self) -> str:
        described = self.describe()
        return f"Options({', '.join(f'{name}={described[name]!r}' for name in self.sources)})"
