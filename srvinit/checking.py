"""`srvinitctl check [srvinit options] [-- COMMAND]`: what these settings mean, without a start.

Settings come from where srvinit itself takes them, and are refused with the same lines.
"""

from __future__ import annotations

import posix

from srvinit import setup
from srvinit.cli import ERR, OUT, USAGE_STATUS, environment, say
from srvinit.errors import UsageError
from srvinit.kernel import cgroup, memcg
from srvinit.kernel.exec import candidates, encoded
from srvinit.report import budget
from srvinit.report.hazards import Machine, hazards, mebibytes, spent_s
from srvinit.settings.sources import Arguments, Sources
from srvinit.settings.values import duration_text
from srvinit.words import counted, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.options import Options

FILE_TYPE, REGULAR_FILE = 0o170000, 0o100000  # S_IFMT, S_IFREG: inode(7)
USAGE = """\
srvinitctl check [srvinit options] [-- COMMAND [ARG...]]

Show where the time of a shutdown and of a recycle goes under these settings, and what will hurt.
Takes srvinit's own options, variables and file (srvinit --help); starts nothing.
"""


def main(arguments: list[str]) -> int:
    """Run the command: 0, with whatever warnings; 2 where srvinit would refuse the settings."""
    environ = environment()
    asked = Arguments(arguments)
    if asked.asks_for == "help":
        return say(OUT, USAGE)
    words = arguments if asked.command else [*arguments, "--", "COMMAND"]
    try:
        options = Sources(words, environ).load()
        count, why = setup.worker_count(options)
        setup.check_descriptors(options, count)
    except UsageError as wrong:
        say(ERR, "".join(f"srvinit: {fault}\n" for fault in wrong.faults))
        return USAGE_STATUS
    machine = machine_for(options, count, asked.command)
    lines = [*picture(options, count, why), ""]
    lines += [f"memory: {_share(options, machine)}", ""] if machine.memory_bytes else []
    found = hazards(options, machine)
    lines += [f"warning: {said}" for said in found] or ["nothing here is known to hurt"]
    return say(OUT, "\n".join(lines) + "\n")


def machine_for(options: Options, count: int, command: list[str]) -> Machine:
    """Find out what these settings will meet here."""
    cpus, why = cgroup.cpu_limit()
    memory = memcg.tightest_limit()
    return Machine(
        count=count,
        cpus=cpus,
        cpus_why=why,
        memory_bytes=memory.size if memory else None,
        memory_why=memory.path if memory else "",
        oom_group=memcg.shared_fate() or "",
        is_kubernetes=b"KUBERNETES_SERVICE_HOST" in posix.environ,
        has_command=not command or _is_there(command[0], options),
        command=command[0] if command else "",
    )


def _is_there(name: str, options: Options) -> bool:
    """Tell whether the workers' command is found: by their own PATH, where they run."""
    environ = dict(posix.environ)
    environ |= {encoded(key): encoded(value) for key, value in options.worker_env}
    places = candidates(name, environ)
    base = options.worker_cwd
    paths = [path if path.startswith("/") or not base else f"{base}/{path}" for path in places]
    return any(_is_program(path) for path in paths)


def _is_program(path: str) -> bool:
    try:
        is_file = posix.stat(path).st_mode & FILE_TYPE == REGULAR_FILE
        return is_file and posix.access(path, posix.X_OK)
    except (OSError, ValueError):  # not there; not a path at all
        return False


def _share(options: Options, machine: Machine) -> str:
    live = machine.count + options.surge(machine.count)
    size = machine.memory_bytes or 0
    return (
        f"{mebibytes(size)} ({machine.memory_why}) for the up to {live} workers of a recycle: "
        f"{mebibytes(size // live)} each"
    )


def picture(options: Options, count: int, count_why: str) -> list[str]:
    """Draw a shutdown and a recycle of `count` workers, each with its sum in words."""
    why = f" ({options.worker_count}: {count_why})" if count_why else ""
    workers = counted(count, "worker") + why
    return [
        f"A shutdown, from SIGTERM on: {workers}",
        *budget.draw(budget.shutdown(options)),
        f"  {shutdown_sum(options)}",
        "",
        f"A recycle, from SIGHUP on: one of {workers}",
        *budget.draw(budget.recycle(options)),
        *(f"  {line}" for line in recycle_sums(options, count)),
    ]


def shutdown_sum(options: Options) -> str:
    """Say the sum of a shutdown in words."""
    parts = ("delay", "timeout", "margin")
    spent = " + ".join(
        f"shutdown.{part} {duration_text(getattr(options, f'shutdown_{part}'))}" for part in parts
    )
    total, whole = spent_s(options), options.shutdown_grace_period
    said = f"{spent} = {duration_text(total)}"
    if whole is None:
        return f"{said}, of no shutdown.grace_period"
    left = round(whole - total, 6)
    rest = f"{duration_text(left)} are left over" if left else "nothing is left over"
    return f"{said} of shutdown.grace_period {duration_text(whole)}: {rest}"


def recycle_sums(options: Options, count: int) -> list[str]:
    """Say how long a recycle takes, at most and at least, and when it is given up."""
    at_once = min(count, max(1, options.surge(count) + options.unavailable(count)))
    rounds = -(-count // at_once)
    times = (options.worker_timeout, options.recycle_settle, options.recycle_timeout)
    longest = round(rounds * sum(times), 6)
    each = " + ".join(duration(time) for time in times)
    shortest = duration(rounds * options.recycle_settle)
    whole = f"{rounds} x ({each}) = {duration(longest)} at most, {at_once} at a time"
    retries = counted(options.recycle_retries, "failure")
    return [
        f"{whole}; {shortest} where all start and stop at once",
        f"given up, and the old ones stay, after {retries} of new ones (recycle.retries)",
    ]
