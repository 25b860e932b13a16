"""Every event srvinit logs: its name, level, sentence and fields, in one table.

The table is the contract with people who read the log and with programs that parse it:
docs/events.md and docs/events.schema.json are made from it, and from `fields`. Names are
`noun.past`; a sentence says what happened, to whom, and what srvinit does next.

A sentence is a str.format template over the event's fields, with three additions:
- `[...]` is left out where a field in it is null or empty; `[first|second]` takes the first part
  that can be filled;
- durations (fields in `_s`, and `seconds`) are said with their unit: "15 s", "2 min 30 s";
- `{workers:worker}` is a number with its noun: "1 worker", "3 workers"; `{size:memory}` is a number
  of bytes as people say it: "512 MiB".

No field may ever hold a worker's arguments or environment: they carry secrets.
"""

from __future__ import annotations

from srvinit.record import Record

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Event(Record):
    """One kind of log line.

    `fields` names its fields in the order of the line. One with "?" is null where it is not known
    or does not apply; it is in the line all the same, so each line of an event has the same fields.
    `then` tells a night-time reader what to expect where the sentence has no room for it.
    """

    level: str
    message: str
    fields: str = ""
    then: str = ""

    def names(self) -> list[str]:
        """List the fields' names, in the order of the line."""
        return self.fields.replace("?", "").split()

    def nullable(self) -> list[str]:
        """List the names of those that may be null."""
        return [field.removesuffix("?") for field in self.fields.split() if field.endswith("?")]


EVENTS = {
    # --- srvinit itself ------------------------------------------------------------------------
    "srvinit.started": Event(
        "info",
        "srvinit {version} (pid {pid}) runs {workers} x {command}[ on {bind}]"
        "[ ({count_why})]; ready means {require}[; {grace}]",
        "version pid is_init workers count_why? require command bind grace?",
    ),
    "srvinit.ready": Event("info", "all workers are ready: {workers}", "workers"),
    "srvinit.advice": Event("info", "{advice}", "advice"),
    "srvinit.suspended": Event(
        "warning",
        "srvinit itself did not run for {late_s}; the watchdogs of all workers start anew",
        "late_s",
    ),
    "srvinit.fault": Event(
        "error",
        "srvinit's own fault: {error}[; {next}]",
        "error traceback next?",
        "srvinit goes on where that is safe; else it stops all workers and exits with 1. Please"
        " report it, with the traceback.",
    ),
    "srvinit.exiting": Event(
        "info",
        "srvinit exits with {status} after {uptime_s}: {reason}",
        "status reason uptime_s",
        "Nothing: this is the last line.",
    ),
    # --- settings, count, signals --------------------------------------------------------------
    "config.read": Event(
        "info",
        "settings read again[ from {file}][ for generation {generation}][; changed: {changed}]",
        "file? generation? changed?",
    ),
    "config.rejected": Event(
        "error",
        "new settings refused, the running ones stay: {faults}",
        "faults",
        "The recycle goes on with the old settings. Mend the file and send HUP again.",
    ),
    "count.changed": Event(
        "info", "{after:worker} wanted instead of {before} ({why})", "before after why"
    ),
    "signal.received": Event(
        "info",
        "received SIG{signal}[ from pid {sender_pid}]: {meaning}",
        "signal sender_pid? meaning",
    ),
    "signal.forwarded": Event(
        "info", "passed SIG{signal} on to {workers:worker}", "signal workers"
    ),
    # --- sockets -------------------------------------------------------------------------------
    "socket.bound": Event(
        "info", "bound {address}; workers have it as fd {fd}", "name? address fd"
    ),
    "socket.unsteered": Event(
        "warning",
        "this kernel does not steer ({error}): the workers share one queue, as with"
        " bind.mode=shared",
        "error",
    ),
    "socket.door_open": Event(
        "warning",
        "nobody could be kept out of {address} ({error}): who connects while the last workers stop"
        " may be reset",
        "address error",
    ),
    "socket.order_lost": Event(
        "warning",
        "the sockets of {address} were not in the order that was thought; learnt anew: {learnt}",
        "address learnt",
    ),
    "socket.closed": Event(
        "info", "closed {address}: who comes now is refused at once", "name? address"
    ),
    "socket.failed": Event(
        "error",
        "cannot bind {address}: {error}; no worker was started",
        "address error",
        "srvinit exits with 1.",
    ),
    # --- probes and metrics --------------------------------------------------------------------
    "endpoint.started": Event(
        "info",
        "pid {pid} answers probes and scrapes at {address}[; {next}]",
        "address pid next?",
    ),
    "endpoint.died": Event(
        "warning",
        "what answers probes and scrapes [(pid {pid}) ended|could not be started]: {reason};"
        " the next follows in {retry_s}",
        "pid? reason retry_s traceback?",
        "endpoint.started. Workers and recycles go on; who asks meanwhile waits for it.",
    ),
    "endpoint.closed": Event(
        "info", "probes and scrapes are not answered at {address} any more", "address"
    ),
    # --- workers -------------------------------------------------------------------------------
    "worker.started": Event(
        "info",
        "worker {slot} (pid {pid}) started in generation {generation} ({why})",
        "slot generation pid why",
        "worker.ready, or worker.killed once worker.timeout has passed.",
    ),
    "worker.ready": Event(
        "info",
        "worker {slot} (pid {pid}) is ready after {after_s} ({require})",
        "slot generation pid after_s require",
    ),
    "worker.settled": Event(
        "debug",
        "worker {slot} (pid {pid}) stayed ready; the stale worker in its slot may go",
        "slot generation pid",
    ),
    "worker.queue_stuck": Event(
        "warning",
        "worker {slot} (pid {pid}) takes none of the connections that wait for it, {waiting} now;"
        " {next}",
        "slot generation pid waiting next",
        "Only where worker.max_queue is set.",
    ),
    "worker.queue_drained": Event(
        "info",
        "worker {slot} (pid {pid}) has taken all the connections that waited for it",
        "slot generation pid",
    ),
    "worker.quiescing": Event(
        "info",
        "worker {slot} (pid {pid}) gets no new connections any more ({why}); its stop signal"
        " follows {quiesce_s} after its queue is empty",
        "slot generation pid why quiesce_s",
        "worker.stopping.",
    ),
    "worker.stopping": Event(
        "info",
        "asked worker {slot} (pid {pid}) to stop with SIG{signal} ({why});"
        " SIGKILL after {timeout_s}",
        "slot generation pid signal timeout_s why",
        "worker.exited, or worker.killed once the time has passed.",
    ),
    "worker.killed": Event(
        "warning",
        "[worker {slot} (pid {pid}) ignored SIG{signal} for {waited_s}; killing its group"
        "|killing the group of worker {slot} (pid {pid}): {why}]",
        "slot generation pid why signal? waited_s?",
        "worker.exited. In a shutdown the exit status becomes 124.",
    ),
    "worker.exited": Event(
        "info",
        "worker {slot} (pid {pid}) ended while {was}, after {lived_s}: {reason}[; {next}]",
        "slot generation pid status reason was asked oom lived_s next?",
        "Where nobody had asked for it and the status is not 0, the level is warning.",
    ),
    "worker.spawn_failed": Event(
        "error",
        "cannot start a worker in slot {slot}: {error}[; trying again in {retry_s}]",
        "slot generation errno? error retry_s?",
    ),
    "worker.hung": Event(
        "warning",
        "worker {slot} (pid {pid}) gave no sign of life for {watchdog_s};"
        " SIGABRT for its stack dump, then SIGKILL",
        "slot generation pid watchdog_s",
    ),
    "worker.too_large": Event(
        "info",
        "worker {slot} (pid {pid}) has {size:memory}, {limit:memory} is allowed[; {next}]",
        "slot generation pid size limit next?",
        "Its recycle, once no other is under way. Where a worker in its slot was recycled for its"
        " size within 5 min, the level is warning and it stays for the rest of that time.",
    ),
    "worker.status": Event(
        "debug", "worker {slot} (pid {pid}) says: {text}", "slot generation pid text"
    ),
    # --- recycle and restart -------------------------------------------------------------------
    "recycle.started": Event(
        "info",
        "recycling to generation {generation} ({why}): {workers:worker} to replace",
        "generation workers why",
        "A new worker is started beside each old one; once it has stayed ready, the old one is"
        " retired. recycle.finished or recycle.failed ends it.",
    ),
    "recycle.asked": Event(
        "info",
        "changed: {paths} (recycle.watch); the settings are read again, and all workers recycled",
        "paths",
        "recycle.started; during a recycle recycle.queued, once however often something changes.",
    ),
    "recycle.queued": Event(
        "info",
        "a recycle is under way; one more, to generation {generation}, follows it",
        "generation",
    ),
    "recycle.finished": Event(
        "info",
        "recycled to generation {generation} in {seconds}: {replaced:worker} replaced",
        "generation seconds replaced",
    ),
    "recycle.failed": Event(
        "error",
        "gave up the recycle to generation {generation} after {failures:failure}"
        "[, the last: {last}]; {kept:old worker} kept, the next SIGHUP tries afresh",
        "generation failures last? status? kept",
    ),
    "recycle.abandoned": Event(
        "info",
        "the recycle to generation {generation} ends here: srvinit is shutting down",
        "generation",
    ),
    "restart.gave_up": Event(
        "error",
        "giving up after {failures:failure} in a row, the last: {reason}; exiting with {status}",
        "failures reason status",
        "The workers that are left are stopped, then srvinit exits with that status.",
    ),
    # --- the end -------------------------------------------------------------------------------
    "shutdown.started": Event(
        "info",
        "shutting down ({why}[ from pid {sender_pid}]): drain {delay_s}, stop {timeout_s},"
        " margin {margin_s}[; over within {deadline_s}]",
        "why sender_pid? workers? delay_s timeout_s margin_s deadline_s?",
        "worker.stopping for each worker once the drain is over.",
    ),
    "shutdown.hurried": Event(
        "info",
        "SIG{signal}: somebody waits, so the drain ends {saved_s} early",
        "signal saved_s",
    ),
    "shutdown.impatient": Event(
        "warning",
        "Ctrl-C again: killing all that is left at once ({workers:worker})",
        "workers",
    ),
    "shutdown.sweeping": Event(
        "info", "all workers are gone; SIG{signal} to the orphans that are left", "signal"
    ),
    "shutdown.sweep_killed": Event(
        "warning", "orphans did not end of SIGTERM; SIGKILL to those that are left"
    ),
    "shutdown.stuck": Event(
        "error", "not even SIGKILL ended these: {pids}; exiting without them", "pids"
    ),
    # --- what is around ------------------------------------------------------------------------
    "orphan.reaped": Event("debug", "reaped orphan {pid}, status {status}", "pid status"),
    "readiness.hidden": Event(
        "warning",
        "cannot see whether workers listen: {why}; a worker that runs is taken for ready",
        "why",
    ),
    "memory.fate_shared": Event(
        "warning",
        "{path} is set: one process out of memory ends this whole container, srvinit included",
        "path",
        "worker.max_memory recycles what grows in time. Kubelets since 1.32 kill one process alone"
        " if they are told singleProcessOOMKill: true.",
    ),
    "memory.unseen": Event(
        "warning",
        "worker.max_memory is without effect: {why}",
        "why",
    ),
    "watch.missing": Event(
        "warning",
        "{path} (recycle.watch) is not there; workers go on, and are recycled once it is",
        "path",
    ),
    "watch.polled": Event(
        "info",
        "the kernel does not tell of changes of {path} ({why}): looking at what recycle.watch names"
        " every {retry_s}",
        "path why retry_s",
    ),
    "watch.restless": Event(
        "warning",
        "{path} (recycle.watch) is never quiet for a second, for {seconds} now: no recycle until it"
        " is",
        "path seconds",
    ),
    "notify.refused": Event(
        "warning",
        "did not believe what came as if from worker pid {pid} (notify): {why}",
        "pid why",
    ),
    "kernel.refused": Event(
        "error",
        "the kernel refused: {error}; everything else goes on",
        "error",
    ),
    "status.unavailable": Event(
        "error",
        "cannot publish the status: {error}; srvinitctl and probes {next}",
        "error next",
    ),
    "manager.unreachable": Event(
        "warning", "the outside manager was not told {text}: {error}", "text error"
    ),
    "manager.told": Event("debug", "told the outside manager: {text}", "text"),
    "log.dropped": Event(
        "warning",
        "log lines missing here: {lines}; nobody read them, or the device was full",
        "lines",
    ),
}
