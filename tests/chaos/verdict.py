"""What is wrong with a run: its log against what the tester saw, and its losses against its kills.

A line may be missing where srvinit says that lines are (`log.dropped`), and no more than it says.
Every rule about lines that are there holds all the same.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import proc
from beginning import beginning_of
from evidence import line_of
from ordeal import CLIENTS, Ordeal
from retelling import retell

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Plan

#: A worker's life, in the order it is told; each is told once.
LIFE = ("started", "ready", "quiescing", "stopping", "killed", "exited")
# From the kill to when a client on a busy machine hears of it.
HEARD_WITHIN_S = 3.0


def judge(plan: Plan, folder: Path) -> list[str]:
    """Run the plan; return what was wrong."""
    ordeal = Ordeal(plan, folder)
    try:
        ordeal.run()
        return [*ordeal.wrong, *untrue(ordeal), *untellable(ordeal), *lost(ordeal)]
    except AssertionError as late:
        ordeal.log.come()
        return [*ordeal.wrong, str(late), *_faults(ordeal), _where_it_is(ordeal.pool.pid)]
    finally:
        _keep(ordeal)
        ordeal.close()


def _keep(ordeal: Ordeal) -> None:
    """Leave what is needed to understand it beside the plan."""
    lines = [repr(event) for event in ordeal.log.events] + ordeal.log.strays
    (ordeal.folder / "events").write_text("\n".join(lines))
    requests = {kind: ordeal.losses[kind] for kind in ("new", "kept") if ordeal.losses}
    done = {
        "deeds": ordeal.done,
        "lives": len(ordeal.seen),
        "kills": len(ordeal.kills),
        "lines": len(ordeal.log.events),
        "dropped": sum(event["lines"] for event in ordeal.log.found("log.dropped")),
    }
    (ordeal.folder / "done.json").write_text(json.dumps({**done, "requests": requests}))
    (ordeal.folder / "seen").write_text(f"{ordeal.seen}\n{ordeal.kills}\n{ordeal.losses}\n")


def _where_it_is(pid: int) -> str:
    """Tell what the kernel knows of a srvinit that does not do as it should."""
    names = ("State", "TracerPid", "SigPnd", "ShdPnd", "SigBlk", "SigCgt")
    told = [f"{name} {proc.status_field(pid, name)}" for name in names]
    files = ("wchan", "syscall", "stack", "cgroup")
    return "; ".join(told + [f"{name} {proc.read(f'/proc/{pid}/{name}')!r}" for name in files])


# --- the log -------------------------------------------------------------------------------------


def _faults(ordeal: Ordeal) -> list[str]:
    faults = [f"a fault: {event['traceback']}" for event in ordeal.log.found("srvinit.fault")]
    return faults + [f"not of the log: {line}" for line in ordeal.log.strays]


def untrue(ordeal: Ordeal) -> list[str]:
    """Return what the log does not tell, or tells otherwise than it was."""
    log = ordeal.log
    dropped = sum(event["lines"] for event in log.found("log.dropped"))
    lives: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in log.events:
        room, _, what = event["event"].partition(".")
        if room == "worker" and what in LIFE:
            lives[event["pid"]].append(event)
    wrong = _faults(ordeal)
    missing = 0
    for pid in {*lives, *ordeal.seen.values()}:
        told = [event["event"].partition(".")[2] for event in lives[pid]]
        places = [LIFE.index(what) for what in told]
        if places != sorted(set(places)):
            wrong.append(f"worker pid {pid}: {told}")
        unsaid = {"started", "exited"} - set(told)
        missing += len(unsaid)
        if unsaid and not dropped:
            wrong.append(f"worker pid {pid}: {told}, nothing dropped")
        wrong += _unexplained(ordeal, lives[pid], dropped)
    if missing > dropped:
        wrong.append(f"{missing} lines of lives are missing, {dropped} were counted")
    if not dropped:
        wrong += _crowded(log.events)
    last = log.events[-1]
    if last["event"] != "srvinit.exiting" or last["status"] != ordeal.pool.exit_status(1):
        wrong.append(f"the last line is {last}")
    return wrong


def untellable(ordeal: Ordeal) -> list[str]:
    """Return the first line that the core would not have said, told what the others tell of."""
    events = ordeal.log.events
    if ordeal.log.found("log.dropped"):
        return []
    shown = [dt.datetime.fromisoformat(event["timestamp"]).timestamp() for event in events]
    lines = [
        line_of(event, at) for event, at in zip(events, ordeal.clock.true_times(shown), strict=True)
    ]
    unlike = retell(lines, beginning_of(ordeal.plan, ordeal.folder / "read.toml"))
    return [f"the core does not tell this: {unlike}"] if unlike else []


def _unexplained(ordeal: Ordeal, life: list[dict[str, Any]], dropped: int) -> list[str]:
    """Tell of an end by SIGKILL or SIGSEGV that nobody gave it."""
    end = next((event for event in life if event["event"] == "worker.exited"), None)
    if end is None or dropped or not any(name in end["reason"] for name in ("KILL", "SEGV")):
        return []
    is_killed = any(event["event"] == "worker.killed" for event in life)
    return [] if is_killed or end["pid"] in ordeal.kills else [f"nobody killed it: {end}"]


def _crowded(events: list[dict[str, Any]]) -> list[str]:
    """Tell of a slot with two replacements, and of a generation that nobody asked for.

    Who is asked to stop makes room: his slot may be wanted again while he is still there.
    """
    staying: dict[int, set[int]] = defaultdict(set)  # by slot: the pids
    generation = 1
    wrong = []
    for event in events:
        name = event["event"]
        if name in {"recycle.started", "recycle.queued"}:
            generation = max(generation, event["generation"])
        elif name == "worker.started":
            staying[event["slot"]].add(event["pid"])
            if len(staying[event["slot"]]) > 2 or event["generation"] > generation:
                wrong.append(f"crowded, with {staying[event['slot']]}: {event}")
        elif name in {"worker.quiescing", "worker.stopping", "worker.killed", "worker.exited"}:
            staying[event["slot"]].discard(event["pid"])
    return wrong + [f"slot {slot}: {left} left" for slot, left in staying.items() if left]


# --- requests ------------------------------------------------------------------------------------


def lost(ordeal: Ordeal) -> list[str]:
    """Hold each loss against a kill: a client has one request at most on a worker that is killed.

    Whose connection it was is known where it was kept. Of others it is known that a kill came
    shortly before: such losses are bounded by the number of kills, times that of the clients.
    """
    figures = ordeal.losses
    number = figures["new"]["lost"] + figures["kept"]["lost"]
    odd = sum(
        figures[kind][f"status_{other}"] for kind in ("new", "kept") for other in ("5xx", "other")
    )
    wrong = [f"{odd} answers are none of the workers'"] if odd else []
    if number > len(figures["losses"]):
        wrong.append(f"{number} requests were lost")
    room = dict.fromkeys(ordeal.kills, 2 * CLIENTS)
    for loss in figures["losses"]:
        at = dt.datetime.fromisoformat(loss["at"]).timestamp()
        known = [int(loss["worker"])] if loss["worker"] else list(room)
        blamed = [
            pid for pid in known if room.get(pid) and 0 <= at - ordeal.kills[pid] <= HEARD_WITHIN_S
        ]
        if not blamed or loss["how"] in {"timeout", "refused"}:
            wrong.append(f"nobody was killed for {loss}")
        else:
            room[min(blamed, key=ordeal.kills.__getitem__)] -= 1
    return wrong
