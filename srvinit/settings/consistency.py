"""What settings say together: the budget of a shutdown, and pairs that contradict each other.

A grace period is spent in a fixed order: `shutdown.delay`, then `shutdown.timeout`, then
`shutdown.margin`. What does not fit would end in the platform's SIGKILL, which nobody reports.
"""

from __future__ import annotations

from srvinit.settings.values import duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.options import Options


def contradictions(
    options: Options, doubtful: set[str], *, inherits_sockets: bool = False
) -> list[str]:
    """Return one line for each contradiction.

    `doubtful` are the settings whose own value was refused: what would follow from it is left out.
    `inherits_sockets`: sockets come with the environment (LISTEN_FDS), so none need be bound.
    """
    faults = []
    for names, find in RULES:
        if not doubtful.intersection(names):
            faults.append(find(options))
    if "bind" not in doubtful and not inherits_sockets:
        faults.append(_listen_without_a_socket(options))
    return [fault for fault in faults if fault]


def time_left_to_stop(options: Options) -> float:
    """Return `shutdown.timeout` where it is not set: what the budget leaves, if there is one."""
    if options.shutdown_grace_period is None:
        return options.shutdown_timeout
    spent = options.shutdown_delay + options.shutdown_margin
    return round(options.shutdown_grace_period - spent, 6)


def _budget_too_small(options: Options) -> str:
    budget = options.shutdown_grace_period
    if budget is None:
        return ""
    parts = ["shutdown.delay", "shutdown.timeout", "shutdown.margin"]
    is_timeout_set = "shutdown.timeout" in options.sources
    if not is_timeout_set:
        parts.remove("shutdown.timeout")
        if time_left_to_stop(options) > 0:
            return ""
    spent = {part: getattr(options, part.replace(".", "_", 1)) for part in parts}
    total = round(sum(spent.values()), 6)
    if is_timeout_set and total <= budget:
        return ""
    terms = " + ".join(f"{part} {duration_text(value)}" for part, value in spent.items())
    asked = f"{terms} = {duration_text(total)}"
    whole = f"shutdown.grace_period {duration_text(budget)}"
    origin = _origins(options, [*parts, "shutdown.grace_period"])
    if is_timeout_set:
        over = duration_text(round(total - budget, 6))
        return f"{asked} does not fit into {whole}, it is {over} too much ({origin})"
    return f"{asked} leaves no time to stop workers in {whole} ({origin})"


def _no_way_to_recycle(options: Options) -> str:
    if options.recycle_max_surge.amount or options.recycle_max_unavailable.amount:
        return ""
    names = ["recycle.max_surge", "recycle.max_unavailable"]
    return (
        "recycle.max_surge and recycle.max_unavailable are both 0: nothing could be started or "
        f"stopped; expected one of them above 0 ({_origins(options, names)})"
    )


def _nobody_beside_the_old_ones(options: Options) -> str:
    if options.bind_mode != "swapped" or options.recycle_max_surge.amount:
        return ""
    return (
        "recycle.max_surge 0 leaves no room for the new workers that bind.mode swapped starts "
        "beside all old ones: expected above 0, or bind.mode shared or steered "
        f"({_origins(options, ['recycle.max_surge', 'bind.mode'])})"
    )


def _watchdog_without_notify(options: Options) -> str:
    if not options.worker_watchdog or options.worker_require == "notify":
        return ""
    return (
        f"worker.watchdog {duration_text(options.worker_watchdog)} needs worker.require notify, "
        f"not {options.worker_require} ({_origins(options, ['worker.watchdog', 'worker.require'])})"
    )


def _http_where_workers_serve(options: Options) -> str:
    http = options.http
    if http is None or (http.kind == "tcp" and not http.port):
        return ""
    if all(bind.place != http.place for bind in options.bind):
        return ""
    return (
        f"http {http} is an address that workers serve: expected one that is not in bind "
        f"({_origins(options, ['http', 'bind'])})"
    )


def _listen_without_a_socket(options: Options) -> str:
    if options.worker_require != "listen" or options.bind:
        return ""
    return (
        "worker.require listen needs a socket to listen on: expected bind, as in -b :8080 "
        f"({_origins(options, ['worker.require'])})"
    )


def _origins(options: Options, names: list[str]) -> str:
    return ", ".join(f"{name}: {options.sources.get(name, 'default')}" for name in names)


RULES = (
    (
        {"shutdown.delay", "shutdown.timeout", "shutdown.margin", "shutdown.grace_period"},
        _budget_too_small,
    ),
    ({"recycle.max_surge", "recycle.max_unavailable"}, _no_way_to_recycle),
    ({"recycle.max_surge", "bind.mode"}, _nobody_beside_the_old_ones),
    ({"worker.watchdog", "worker.require"}, _watchdog_without_notify),
    ({"http", "bind"}, _http_where_workers_serve),
)
