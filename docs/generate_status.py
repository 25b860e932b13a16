"""Write docs/status.md and docs/status.schema.json from the table below.

Run it with `python docs/generate_status.py` after a change to what `srvinit/report/status.py`
writes. Tests hold each document that srvinit publishes against the schema, and these files against
this table.
"""  # noqa: INP001  docs is no package

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from srvinit import STATUS_FD, STATUS_NAME
from srvinit.lifecycle.ending import PHASES
from srvinit.lifecycle.worker import GONE, SPAWNING, STATES
from srvinit.publishing import LONGEST_PAUSE_S
from srvinit.report.status import ENDED_RECYCLES, OUTCOMES, RESTARTS, SCHEMA, first_line

HERE = Path(__file__).parent

SHOWN_STATES = [state for state in STATES if state not in {SPAWNING, GONE}]
TIME = "unix seconds"
SIGNAL = "string?"

# Of each object: field -> (type, meaning). With "?" it may be null; a list of words means one of
# them; "{name}" is that object, "[name]" an array of it.
OBJECTS: dict[str, dict[str, tuple[Any, str]]] = {
    "status": {
        "schema": ("integer", f"the version of this description: {SCHEMA}"),
        "pid": ("integer", "srvinit's pid, as srvinit sees it"),
        "live": ("boolean", "srvinit runs: true in each status that there is"),
        "ready": ("boolean", "traffic should come here: see below"),
        "phase": (list(PHASES), "serving, or how far the end has come"),
        "why": ("string", "why it is ready or not, in words without a quote or a backslash"),
        "version": ("string", "srvinit's version"),
        "serial": ("integer", "+1 with each status published: the same number, the same content"),
        "published_at": ("number", f"when this was published: {TIME}"),
        "started_at": ("number", f"when srvinit started: {TIME}"),
        "generation": ("integer", "the generation that new workers get: +1 at every recycle"),
        "count": ("integer", "workers wanted"),
        "serving": ("integer", "workers that fulfil `worker.require` and were not asked to stop"),
        "settled": ("integer", "those of them that have done so for `recycle.settle`: they count"),
        "failures_in_row": ("integer", "what `restart.limit` is held against"),
        "shutdown": ("{shutdown}?", "how srvinit stops; null while it serves"),
        "settings": ("{settings}", "the settings in force, as far as a reader needs them"),
        "signals": ("{signals}", "which signal asks for what, without SIG; null: none does"),
        "recycles": (
            "{recycles}",
            "what was asked for, what is under way, how the last ones ended",
        ),
        "counters": ("{counters}", "since srvinit started; they never go down"),
        "sockets": ("[socket]", "the open listening sockets that the settings name"),
        "workers": ("[worker]", "every process that is a worker and is not reaped yet"),
    },
    "shutdown": {
        "why": ("string", "what it was asked by"),
        "began_at": ("number", f"when it was asked: {TIME}"),
        "stop_at": ("number", f"when the workers are asked to stop: {TIME}"),
        "kill_by": ("number", f"when those that are left get SIGKILL: {TIME}"),
        "by": ("number", f"when srvinit has ended, whatever they do: {TIME}"),
    },
    "settings": {
        "worker.require": ("string", "what ready means: online, listen, notify"),
        "worker.timeout": ("number", "seconds to become ready"),
        "worker.stop_signal": ("string", "what asks a worker to stop"),
        "recycle.timeout": ("number", "seconds a retired worker has"),
        "recycle.settle": ("number", "seconds it must stay ready before it counts"),
        "recycle.retries": ("integer", "failures before a recycle is given up"),
        "recycle.max_surge": ("integer", "live workers above count, worked out"),
        "recycle.max_unavailable": ("integer", "ready workers that may be missing, worked out"),
        "bind.backlog": ("integer?", "connections that may wait, where it is set"),
        "restart.delay": ("number", "seconds after a crash before another is started"),
        "restart.policy": ("string", "always, on-failure, never"),
        "restart.limit": ("integer", "failures in a row before srvinit gives up; 0: never"),
        "shutdown.delay": ("number", "seconds of drain"),
        "shutdown.timeout": ("number", "seconds the workers have to stop"),
        "shutdown.margin": ("number", "seconds kept back for SIGKILL and the sweep"),
        "shutdown.grace_period": ("number?", "the whole budget in seconds, where it was told"),
    },
    "signals": {
        "recycle": (SIGNAL, "asks for a recycle"),
        "shutdown": (SIGNAL, "asks srvinit to stop"),
        "scale-up": (SIGNAL, "one worker more"),
        "scale-down": (SIGNAL, "one worker fewer"),
    },
    "recycles": {
        "requests": ("integer", "signals taken in that asked for one; some change nothing"),
        "requested_monotonic": ("number?", "when the last came, by CLOCK_MONOTONIC"),
        "asked": ("integer", "recycles that were begun or are to come: the last one's number"),
        "begun": ("integer", "recycles that were begun, those of `worker.max_age` among them"),
        "queued": ("boolean", "one more follows the running one"),
        "running": ("{running}?", "the recycle under way"),
        "ended": ("[ended]", f"the last {ENDED_RECYCLES} that are over, the latest last"),
    },
    "running": {
        "pass": ("integer", "the recycle's number, from 1"),
        "generation": ("integer", "the generation of its new workers"),
        "why": ("string", "what asked for it"),
        "workers": ("integer", "how many are to be replaced"),
        "rejected": ("string?", "why the settings were refused: it goes on with the old ones"),
        "replaced": ("integer", "how many were replaced so far"),
        "failures": ("integer", "new workers that failed so far"),
        "last_failure": ("string?", "the last of them: slot, pid and reason"),
        "last_status": ("integer?", "its exit code, or minus its signal; null: no process"),
        "began_at": ("number", f"when it began: {TIME}"),
    },
    "ended": {
        "pass": ("integer", "the recycle's number, from 1"),
        "generation": ("integer", "the generation of its new workers"),
        "why": ("string", "what asked for it"),
        "workers": ("integer", "how many were to be replaced"),
        "rejected": ("string?", "why the settings were refused: it went on with the old ones"),
        "outcome": (list(OUTCOMES), "abandoned: srvinit was asked to stop meanwhile"),
        "seconds": ("number?", "how long it took, if it finished"),
        "replaced": ("integer?", "how many were replaced, if it finished"),
        "last_failure": ("string?", "if it failed, the last failure: slot, pid and reason"),
        "last_status": ("integer?", "its exit code, or minus its signal; null: no process"),
    },
    "counters": {
        "workers_started": ("integer", "worker processes"),
        "restarts": ("{restarts}", "workers started in the place of one that ended by itself"),
        "recycles": ("{outcomes}", "recycles by outcome"),
        "recycle_seconds": ("number", "what those that finished took, together"),
        "spawn_failures": ("integer", "workers that could not be started: no process"),
        "kills": ("integer", "workers whose group was sent SIGKILL"),
        "oom_kills": ("integer", "workers that the kernel killed for lack of memory"),
        "orphans_reaped": ("integer", "processes that were no workers"),
        "log_lines_dropped": ("integer", "lines that nobody read in time"),
    },
    "restarts": {
        "crash": ("integer", "it had failed"),
        "clean-exit": ("integer", "it had been ready and exited with 0"),
    },
    "outcomes": {outcome: ("integer", f"recycles that were {outcome}") for outcome in OUTCOMES},
    "socket": {
        "address": ("string", "as people write it"),
        "name": ("string", "its name in LISTEN_FDNAMES; may be empty"),
        "kind": (["tcp", "unix", "udp"], "what it is"),
        "inode": ("integer", "what /proc calls it: socket:[inode]"),
        "seat": (
            "integer?",
            "steered, swapped: whose it is, by `seat` of the workers; null: everybody's",
        ),
    },
    "worker": {
        "slot": ("integer", "its place, 0 to count - 1; several may have been there in turn"),
        "pid": ("integer", "its pid, as srvinit sees it"),
        "generation": ("integer", "its generation"),
        "state": (SHOWN_STATES, "see lifecycle.md"),
        "why": ("string", "what it was started for, or else what it was asked to stop for"),
        "seat": ("integer?", "steered, swapped: which sockets it has"),
        "started_at": ("number", f"when it was started: {TIME}"),
        "ready_at": ("number?", f"when it became ready: {TIME}; null: not yet"),
    },
}
assert set(OBJECTS["restarts"]) == set(RESTARTS)  # noqa: S101  the table is complete

EXAMPLE = first_line(1, True, "4 of 4 workers serve", "serving").strip()  # noqa: FBT003

INTRODUCTION = f"""\
# The status

srvinit publishes what it knows of itself as one JSON object, in memory that others may read and
nobody may change: a sealed memfd named `{STATUS_NAME}`, at its descriptor {STATUS_FD}. There is no
socket, no file and nothing to attack: `srvinitctl` and probes read `/proc/1/fd/{STATUS_FD}`. Only
the same user, and root, may (ptrace(2), PTRACE_MODE_READ).

```console
$ head -1 /proc/1/fd/{STATUS_FD}
{EXAMPLE}
```

**The first line** has these six fields in this order and form, always, so that a probe needs no
JSON parser; a further field may follow them in a later version. The whole is one JSON object, one
worker a line. [status.schema.json](status.schema.json) describes it.

**When.** At the end of each turn of srvinit's loop that changed something, the first time once the
workers' start is over (50 ms at most): until then the memfd is there and empty. `ready` and
`phase` are told in the turn that changed them, a request to stop before an exit is judged. The rest
waits until publishing takes a twentieth of the time at most: some milliseconds, with 4 workers or
with 1,000, and never longer than {LONGEST_PAUSE_S:g} s. A reader that opens it gets one status,
whole, however long it reads.

**Where else.** Under a limit of descriptors of {STATUS_FD} or fewer, or if that descriptor was in
use when srvinit was started, it is at another one: look for the name in `/proc/PID/fd`. Where two
have it, the one that is sealed (fcntl(2), F_GET_SEALS) is the status, and the other its successor,
which is being written.

**If it cannot be published** (a filter of system calls forbids memfd_create, say), srvinit logs
`status.unavailable`, once, and goes on. Rather than leave a `"ready": true` that is wrong it takes
the status away.

**Ready** is what a readiness probe wants to know, and not what `worker.require` says of a worker:

- at the start, false until all workers have been ready at once: the first of four is no pod to
  send a fourth of all users to;
- from then on true while one worker serves at all. A pod in which one of four crashes stays in: it
  serves better than none, and where every pod has the same fault, to take all out would be an
  outage. The failure is in the log, in `restarts` and in `failures_in_row`;
- false from the first request to stop on (TERM, INT, `restart.limit`): the drain serves all the
  same.

**Live** is true in each status: it does not depend on the workers, which srvinit restarts itself.

Later versions of srvinit may add fields, and words where one of several stands; what is there keeps
its meaning as long as `schema` is {SCHEMA}.

This page is generated by `docs/generate_status.py`. A type with `?` may be null.
"""

NOTES = {
    "status": "The first six are the first line.",
    "worker": "It is here from its start until it is reaped, whatever it was asked meanwhile.",
}


def markdown() -> str:
    """Describe all objects as a page."""
    parts = [INTRODUCTION]
    for name, fields in OBJECTS.items():
        parts.append(f"## {name}\n")
        if name in NOTES:
            parts.append(f"{NOTES[name]}\n")
        rows = [
            f"| `{field}` | {_type_text(kind)} | {meaning} |"
            for field, (kind, meaning) in fields.items()
        ]
        parts.append("\n".join(["| field | type | meaning |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _type_text(kind: Any) -> str:
    if isinstance(kind, list):
        return ", ".join(f"`{word}`" for word in kind)
    bare = kind.strip("{}[]?")
    if bare in OBJECTS:
        link = f"[{bare}](#{bare})"
        return f"array of {link}" if kind.startswith("[") else link + "?" * kind.endswith("?")
    return str(kind)


def schema() -> dict[str, Any]:
    """Describe the whole as a JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "srvinit's status",
        "$ref": "#/$defs/status",
        "$defs": {name: _object_schema(fields) for name, fields in OBJECTS.items()},
    }


def _object_schema(fields: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(fields),
        "properties": {
            name: {**_type_schema(kind), "description": meaning}
            for name, (kind, meaning) in fields.items()
        },
        "additionalProperties": False,
    }


def _type_schema(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        return {"enum": kind}
    may_be_null = kind.endswith("?")
    bare = kind.strip("{}[]?")
    if bare not in OBJECTS:
        return {"type": [bare, "null"] if may_be_null else bare}
    reference = {"$ref": f"#/$defs/{bare}"}
    if kind.startswith("["):
        return {"type": "array", "items": reference}
    return {"anyOf": [reference, {"type": "null"}]} if may_be_null else reference


def files() -> dict[Path, str]:
    """Map each generated file to what it should hold."""
    return {
        HERE / "status.md": markdown(),
        HERE / "status.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
