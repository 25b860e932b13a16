"""What settings that are allowed will do to their user: `srvinitctl check`.

Each rule says one thing, names the setting and what to set instead. What cannot be right at all is
refused by `settings.consistency`; here is what is right for somebody, and seldom meant.
"""

from __future__ import annotations

from srvinit.record import Record
from srvinit.settings.values import duration_text
from srvinit.words import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from srvinit.options import Options

DOCKER_S = 10  # docker stop and compose, unless told otherwise
KUBERNETES_S = 30  # terminationGracePeriodSeconds, unless told otherwise
SLOW_START_S = 5.0  # of an interpreter with an application, on a busy machine
SPREAD_S = 5  # until endpoints are gone from every proxy: docs/kubernetes.md
SHORTEST_MARGIN_S = 0.2  # to kill, reap and exit, with room for a slow machine
PER_CPU = 4  # workers: above it they wait for each other
LEAST_MEMORY = 32 << 20  # bytes a worker: an interpreter with a small application


class Machine(Record):
    """What the settings will meet. `memory_bytes` is None where nothing limits it."""

    count: int  # worker.count worked out
    cpus: int
    cpus_why: str
    memory_bytes: int | None = None
    memory_why: str = ""
    oom_group: str = ""  # the file that has all of the container killed with one of it
    is_kubernetes: bool = False
    has_command: bool = True  # it is there, or none was named
    command: str = ""


def hazards(options: Options, machine: Machine) -> list[str]:
    """Return what will hurt, a sentence or two each."""
    return [said for rule in RULES if (said := rule(options, machine))]


def spent_s(options: Options) -> float:
    """Return how long a shutdown may take."""
    parts = (options.shutdown_delay, options.shutdown_timeout, options.shutdown_margin)
    return round(sum(parts), 6)


def _online_with_sockets(options: Options, _machine: Machine) -> str:
    if not options.bind or options.worker_require != "online":
        return ""
    return (
        "worker.require=online: a new worker counts as ready before it accepts connections, and a "
        "recycle retires the old one too early; set worker.require=listen and worker.timeout=30s"
    )


def _short_start(options: Options, _machine: Machine) -> str:
    if options.worker_require == "online" or options.worker_timeout >= SLOW_START_S:
        return ""
    return (
        f"worker.timeout={duration_text(options.worker_timeout)}: a worker that needs longer to "
        "become ready is killed, again and again; a web server wants 30s"
    )


def _no_grace_period(options: Options, machine: Machine) -> str:
    spent = spent_s(options)
    if options.shutdown_grace_period is not None:
        return ""
    takes = f"shutdown.grace_period is not set, and a shutdown takes up to {duration_text(spent)}"
    limits = [("Kubernetes", KUBERNETES_S, "terminationGracePeriodSeconds")]
    if not machine.is_kubernetes:
        limits.insert(0, ("docker stop", DOCKER_S, "docker stop -t, stop_grace_period"))
    short = [f"{who} kills after {least}s ({how})" for who, least, how in limits if spent > least]
    if not short:
        return f"{takes}; set it, so that a change of the others cannot exceed it unnoticed"
    return f"{takes}: unless told otherwise, {'; '.join(short)}. Set it to what the platform gives"


def _longer_than_docker(options: Options, machine: Machine) -> str:
    whole = options.shutdown_grace_period
    if whole is None or machine.is_kubernetes or whole <= DOCKER_S or spent_s(options) <= DOCKER_S:
        return ""
    return (
        f"docker stop kills after {DOCKER_S}s, whatever shutdown.grace_period="
        f"{duration_text(whole)} says: under Docker use docker stop -t {whole:g}, in compose "
        f"stop_grace_period: {duration_text(whole)}"
    )


def _nobodys_time(options: Options, _machine: Machine) -> str:
    whole = options.shutdown_grace_period
    if whole is None or (left := round(whole - spent_s(options), 6)) <= 0:
        return ""
    return (
        f"{duration_text(left)} of shutdown.grace_period={duration_text(whole)} are given to "
        "nobody: leave shutdown.timeout out, and it is all that the others leave"
    )


def _recycle_longer_than_shutdown(options: Options, _machine: Machine) -> str:
    if options.recycle_timeout <= options.shutdown_timeout:
        return ""
    return (
        f"recycle.timeout={duration_text(options.recycle_timeout)} is more than the "
        f"{duration_text(options.shutdown_timeout)} that workers have in a shutdown: who needs it "
        "is killed there; raise the grace period or shorten what a request may take"
    )


def _no_drain(options: Options, machine: Machine) -> str:
    if not machine.is_kubernetes or not options.bind or options.shutdown_delay:
        return ""
    return (
        "shutdown.delay=0s: proxies send requests for some seconds after SIGTERM, and they are "
        f"refused; set shutdown.delay={SPREAD_S}s"
    )


def _no_margin(options: Options, _machine: Machine) -> str:
    if options.shutdown_margin >= SHORTEST_MARGIN_S:
        return ""
    return (
        f"shutdown.margin={duration_text(options.shutdown_margin)} leaves no time to kill who is "
        "left and to say so: the platform does it, with exit status 137; set 1s"
    )


def _quiesce_eats_all(options: Options, _machine: Machine) -> str:
    least = min(options.recycle_timeout, options.shutdown_timeout)
    if options.bind_mode == "shared" or options.worker_quiesce < least:
        return ""
    return (
        f"worker.quiesce={duration_text(options.worker_quiesce)} is all the time that a worker has "
        f"to stop ({duration_text(least)}): it is killed without its stop signal having worked"
    )


def _nothing_to_steer(options: Options, _machine: Machine) -> str:
    if options.bind_mode == "shared" or any(bind.kind == "tcp" for bind in options.bind):
        return ""
    return (
        f"bind.mode={options.bind_mode} without a TCP address in bind: Unix and UDP sockets, and "
        "inherited ones, are shared always; leave it out, or have srvinit bind the address"
    )


def _no_queue_to_look_at(options: Options, _machine: Machine) -> str:
    if not options.worker_max_queue or options.bind_mode == "steered":
        return ""
    return (
        f"worker.max_queue={options.worker_max_queue} with bind.mode={options.bind_mode}: nobody "
        "waits for one worker where all have one queue; set bind.mode=steered, or leave it out"
    )


def _one_at_a_time(options: Options, machine: Machine) -> str:
    if options.surge(machine.count) or machine.count > 1:
        return ""
    return (
        "recycle.max_surge=0 with a single worker: nobody serves while it is replaced; connections "
        "wait in the queue, or are lost with worker.require=online; set recycle.max_surge=1"
    )


def _too_many_for_cpus(options: Options, machine: Machine) -> str:
    if machine.count <= PER_CPU * machine.cpus:
        return ""
    return (
        f"worker.count={options.worker_count}: {counted(machine.count, 'worker')} for "
        f"{counted(machine.cpus, 'CPU')} ({machine.cpus_why}) wait for each other unless they "
        "mostly sleep; starting and recycling them takes as much longer; set worker.count=auto"
    )


def _too_many_for_memory(options: Options, machine: Machine) -> str:
    if machine.memory_bytes is None:
        return ""
    live = machine.count + options.surge(machine.count)
    each = machine.memory_bytes // live
    most = options.worker_max_memory
    allowed = 0 if most is None else most.of(machine.memory_bytes)
    if each >= LEAST_MEMORY and allowed <= each:
        return ""
    instead = "set recycle.max_surge=0 and recycle.max_unavailable=1"
    if options.bind_mode == "swapped":
        instead = "set bind.mode=steered, which replaces one at a time"
    needs = f"may grow to {mebibytes(allowed)} each" if allowed > each else "have little room"
    return (
        f"{mebibytes(machine.memory_bytes)} ({machine.memory_why}) are {mebibytes(each)} for each "
        f"of the {live} workers of a recycle, which {needs}: the kernel kills who asks for more; "
        f"lower worker.count, or {instead}"
    )


def _all_die_together(_options: Options, machine: Machine) -> str:
    if not machine.oom_group:
        return ""
    return (
        f"{machine.oom_group} is 1: where one worker asks for too much memory the kernel kills all "
        "of this container, srvinit too; in Kubernetes, singleProcessOOMKill of the kubelet"
    )


def mebibytes(size: int) -> str:
    """Write a size of memory as people read it."""
    return f"{size / (1 << 20):.0f} MiB"


def _gives_up_at_once(options: Options, machine: Machine) -> str:
    limit = options.restart_limit
    if options.restart_policy != "always" or not 0 < limit <= machine.count:
        return ""
    return (
        f"restart.limit={limit}: when {counted(machine.count, 'worker')} fail together, as they do "
        "without their database, srvinit exits at once; set it above worker.count"
    )


def _never_gives_up(options: Options, _machine: Machine) -> str:
    if options.restart_policy != "always" or options.restart_limit:
        return ""
    return (
        "restart.limit=0: workers that never start are started for ever, and the platform sees a "
        "container that runs; set a limit, or have a probe that tells"
    )


def _hasty_watchdog(options: Options, _machine: Machine) -> str:
    if not options.worker_watchdog or options.worker_watchdog >= 1:
        return ""
    return (
        f"worker.watchdog={duration_text(options.worker_watchdog)}: a worker that is merely not "
        "scheduled for so long is killed as hung; set some seconds"
    )


def _no_command(_options: Options, machine: Machine) -> str:
    if machine.has_command:
        return ""
    return (
        f"{machine.command}: no such command here: srvinit would exit with 127 or 126; run this "
        "check where srvinit will run"
    )


RULES: tuple[Callable[[Options, Machine], str], ...] = (
    _no_command,
    _no_grace_period,
    _longer_than_docker,
    _nobodys_time,
    _no_margin,
    _no_drain,
    _recycle_longer_than_shutdown,
    _online_with_sockets,
    _short_start,
    _quiesce_eats_all,
    _nothing_to_steer,
    _no_queue_to_look_at,
    _one_at_a_time,
    _too_many_for_cpus,
    _too_many_for_memory,
    _all_die_together,
    _gives_up_at_once,
    _never_gives_up,
    _hasty_watchdog,
)
