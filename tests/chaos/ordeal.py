"""One run: srvinit is PID 1, real servers serve under load, and a plan's steps befall them.

The tester sees what the kernel shows of srvinit's children, all through the run; verdict.py holds
the log against it. Pids in this file are those seen from outside, but for `seen`'s values.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import harness
import plan as planning
import proc
import scenes
from beginning import LAST_CONFIG, LAST_COUNTS, MARGIN_S, OPTIONS, SHUTDOWN_S
from cgroups import Group, kill_by_memory
from clock import Clock
from fifo import Fifo
from load import Load

from srvinit import STATUS_FD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from plan import Plan, Step
    from proc import Found

CLIENTS = 4  # of each kind
RATE = 120.0
ANSWER_WITHIN_S = 20.0  # longer than anything that is done to srvinit lasts
PATIENCE_S = 30.0
COUNTS_ITSELF = {"kill", "segv", "oom", "frost", "forks", "clock"}  # known done, not just tried


class Ordeal:
    """What the tester knows of a run, and what it does to it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.config = folder / "srvinit.toml"
        self.config.write_bytes(planning.CONFIGS[1])
        self.log = Fifo(folder / "log")
        self.seen: dict[int, int] = {}  # srvinit's children, with the pid srvinit knows each by
        self.kills: dict[int, float] = {}  # by the pid srvinit knows: when chaos killed it
        self._under_way: dict[int, Any] = {}  # by the number of the step that began it
        self._is_limited = False
        self.done: Counter[str] = Counter()  # what did befall it: there may be nobody, or no cgroup
        self.losses: dict[str, Any] = {}
        self.wrong: list[str] = []
        self._doings: dict[str, Callable[[Step], None]] = {
            "kill": self._kill,
            "segv": self._segv,
            "stop": self._stop,
            "freeze": self._freeze,
            "oom": self._oom,
            "frost": self._frost,
            "forks": self._forks,
            "clock": self._clock,
            "descriptors": self._limit,
            "inject": self._inject,
            "stall": self._stall,
            "close": self._close,
            "storm": self._storm,
            "config": self._config,
            "recycle": self._hangup,
        }
        command = harness.silenced(scenes.python("kept.py"), folder / "workers.stderr")
        options = (*OPTIONS, f"--config={self.config}", f"--bind-mode={plan.mode}")
        # Workers find USR1 ignored, as srvinit does: a storm is not to kill them.
        self.clock = Clock(folder, jumps=plan.clock_jumps)
        prefix = ("env", "--ignore-signal=USR1", *self.clock.prefix)
        self.pool = harness.Srvinit(
            *options, "--", *command, pid1=True, stderr=self.log.writer, prefix=prefix, cwd=folder
        )
        os.close(self.log.writer)
        _, self._hard = self._limits = resource.prlimit(self.pool.pid, resource.RLIMIT_NOFILE)

    def close(self) -> None:
        """Kill all that is left."""
        for tracer in self._under_way.values():
            if isinstance(tracer, subprocess.Popen):
                tracer.kill()
                tracer.communicate()
            if isinstance(tracer, Group):
                tracer.back()
        self.pool.close()
        self.log.close()

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Go through the plan, and through what must be possible after it."""
        self._settle("the start")
        before = self._descriptors()
        port = int(self.log.found("socket.bound")[0]["address"].rpartition(":")[2])
        with Load(port, new=CLIENTS, kept=CLIENTS, rate=RATE, timeout=ANSWER_WITHIN_S) as load:
            load.wait_requests(50)
            self._suffer()
            self._settle("chaos")
            for count in LAST_COUNTS:
                self._recycle(count)
            self._all_answer(load)
            self.losses = load.stop()
        after = self._descriptors()
        if len(after) > len(before):
            self.wrong.append(f"descriptors leak: {before} before, {after} after")
        self.wait(lambda: not scenes.zombies(self.pool.pid), 5, "zombies to be reaped")
        self._end()

    def _suffer(self) -> None:
        began = time.monotonic()
        for step in self.plan.steps:
            while time.monotonic() < began + step.at:
                self.look()
                time.sleep(0.003)  # /proc wakes nobody
            if not self.pool.is_running:
                self.wrong.append(f"srvinit ended before {step}")
                return
            self._doings[step.what](step)
            if step.what not in COUNTS_ITSELF:
                self.done[step.what] += not step.ends
            self.look()

    def look(self) -> None:
        """Read the log, and see which children there are."""
        self.log.take()
        for pid in proc.children(self.pool.pid):
            if pid in self.seen or proc.group(pid) != pid:
                continue  # not a worker, or not yet: a child that reads the settings leads no group
            inside = proc.status_field(pid, "NSpid").split()[-1:]
            if inside and inside != ["0"]:  # of one that is being reaped
                self.seen[pid] = int(inside[0])
            if self._is_limited:
                self._unlimit(pid)

    def wait(self, question: Callable[[], Found], within: float, what: str) -> Found:
        """Look until the answer is true, and return it; if it never is, that is wrong."""

        def answer() -> Found:
            self.look()
            return question()

        return proc.wait_until(answer, within, what)

    # --- what is asked of srvinit ----------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what srvinit publishes, empty while it does not."""
        text = proc.read(f"/proc/{self.pool.pid}/fd/{STATUS_FD}")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def _descriptors(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(map(int, os.listdir(f"/proc/{self.pool.pid}/fd")))  # noqa: PTH208
        return []

    def _settle(self, after: str, count: int | None = None) -> None:
        """Wait until srvinit has what it wants, and nothing more to do."""

        def is_settled() -> bool:
            told = self.status()
            return (
                bool(told)
                and (count is None or told["count"] == count)
                and told["serving"] == told["settled"] == told["count"] == len(told["workers"])
                and told["recycles"]["running"] is None
                and not told["recycles"]["queued"]
            )

        self.wait(is_settled, PATIENCE_S, f"all workers to serve after {after}")

    def _recycle(self, count: int) -> None:
        """Recycle with a new count of workers: it succeeds."""
        if self.config.is_dir():
            self.config.rmdir()
        self.config.write_bytes(LAST_CONFIG % count)
        sent_at = time.monotonic()
        self.pool.signal("HUP")

        def passes() -> dict[str, Any]:
            told: dict[str, Any] = self.status().get("recycles", {})
            return told if (told.get("requested_monotonic") or 0.0) >= sent_at else {}

        # Nothing less tells this one from the last of chaos's own, which may have been the same.
        number = self.wait(passes, PATIENCE_S, "HUP to be taken in")["asked"]

        def ends() -> list[dict[str, Any]]:
            return [one for one in passes().get("ended", []) if one["pass"] >= number]

        end = self.wait(ends, PATIENCE_S, f"the recycle to {count} to end")[0]
        if end["outcome"] != "finished" or end["rejected"]:
            self.wrong.append(f"a recycle after chaos: {end}")
        self._settle(f"a recycle to {count}", count)

    def _all_answer(self, load: Load) -> None:
        """Wait until each worker, and none but those, has answered."""
        before = load.figures()["workers"]
        wanted = {str(worker["pid"]) for worker in self.status()["workers"]}

        def answering() -> bool:
            now = load.figures()["workers"]
            return {pid for pid in now if now[pid] > before.get(pid, 0)} == wanted

        self.wait(answering, PATIENCE_S, f"{wanted} to answer")

    def _end(self) -> None:
        if self.plan.recycles_at_the_end:
            self.pool.signal("HUP")
        asked_at = time.monotonic()
        self.pool.signal("TERM")
        self.wait(lambda: not self.pool.is_running, SHUTDOWN_S + MARGIN_S + 5, "srvinit to end")
        took_s = time.monotonic() - asked_at
        status = self.pool.exit_status(1)
        self.log.take()
        if took_s > SHUTDOWN_S + MARGIN_S + scenes.SLACK_S:
            self.wrong.append(f"it took {took_s:.1f} s to end")
        if status:
            self.wrong.append(f"exit status {status}")
        left = self.pool.everything()
        if left:
            self.wrong.append(f"survivors: {left}")

    # --- what befalls it, by the name of the step ------------------------------------------------

    def _victim(self, step: Step) -> int | None:
        living = [pid for pid in sorted(self.seen) if proc.state(pid) not in "ZX"]
        mine = set(proc.children(self.pool.pid))
        living = [pid for pid in living if pid in mine]
        return living[int(step.luck[0] * len(living))] if living else None

    def _kill(self, step: Step, number: int = signal.SIGKILL) -> None:
        victim = self._victim(step)
        if victim is not None:
            self.kills.setdefault(self.seen[victim], time.time())
            self.done[step.what] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, number)

    def _segv(self, step: Step) -> None:
        self._kill(step, signal.SIGSEGV)

    def _oom(self, step: Step) -> None:
        victim = self._victim(step)
        if victim is None:
            return
        before = time.time()
        with contextlib.suppress(OSError):  # no such controller
            kill_by_memory(victim)
            self.kills.setdefault(self.seen[victim], before)
            self.done[step.what] += 1

    def _frost(self, step: Step) -> None:
        victim = self._victim(step)
        if step.ends or victim is None:
            self._release(step)
            return
        is_all = step.luck[1] < 1 / 3
        pids = (self.pool.pid, *proc.children(self.pool.pid)) if is_all else (victim,)
        self._confine(step, "freezer", pids, "freezer.state", "FROZEN")

    def _forks(self, step: Step) -> None:
        if step.ends:
            self._release(step)
        else:
            self._confine(step, "pids", (self.pool.pid,), "pids.max", "1")

    def _confine(self, step: Step, controller: str, pids: tuple[int, ...], *value: str) -> None:
        with contextlib.suppress(OSError):  # no such controller
            self._under_way[step.number] = group = Group(controller, pids[0])
            group.take(*pids)
            group.set(*value)
            self.done[step.what] += 1

    def _release(self, step: Step) -> None:
        group = self._under_way.pop(step.number, None)
        if group is not None:
            group.back()

    def _clock(self, step: Step) -> None:
        """Jump ahead or back, and to the true time at the end."""
        if self.clock.jumps:
            self.clock.set(0.0 if step.ends else step.luck[0] * 2 - 1)
            self.done[step.what] += not step.ends

    def _stop(self, step: Step) -> None:
        self._halt(step, self._victim(step))

    def _freeze(self, step: Step) -> None:
        self._halt(step, self.pool.pid)

    def _halt(self, step: Step, pid: int | None) -> None:
        if not step.ends and pid is not None:
            self._under_way[step.number] = os.pidfd_open(pid)
        number = signal.SIGCONT if step.ends else signal.SIGSTOP
        pidfd = self._under_way.get(step.number)
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
        if step.ends and pidfd is not None:
            os.close(self._under_way.pop(step.number))

    def _unlimit_all(self) -> None:
        self._is_limited = False
        resource.prlimit(self.pool.pid, resource.RLIMIT_NOFILE, self._limits)
        for pid in proc.children(self.pool.pid):
            self._unlimit(pid)

    def _unlimit(self, pid: int) -> None:
        """Give a worker back what it inherits of the limit: srvinit alone is to lack."""
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, self._limits)

    def _limit(self, step: Step) -> None:
        if step.ends:
            self._unlimit_all()
            return
        used = set(self._descriptors())
        lowest = next(fd for fd in range(1024) if fd not in used)
        self._is_limited = True
        limits = (lowest + int(step.luck[0] * 4), self._hard)
        resource.prlimit(self.pool.pid, resource.RLIMIT_NOFILE, limits)

    def _inject(self, step: Step) -> None:
        tracer = self._under_way.pop(step.number, None)
        if step.ends:
            if tracer is not None:
                tracer.send_signal(signal.SIGINT)
                tracer.communicate(timeout=20)
            return
        call, error, when = planning.FAILING[int(step.luck[0] * len(planning.FAILING))]
        fault = f"inject={call}:error={error}:when={when}"
        trace = os.fspath(self.folder / "strace")
        command = [harness.program("strace"), "-q", "-e", "signal=none", "-o", trace, "-e", fault]
        tracer = subprocess.Popen(
            [*command, "-p", str(self.pool.pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._under_way[step.number] = tracer

        def is_attached() -> bool:
            return proc.status_field(self.pool.pid, "TracerPid") == str(tracer.pid)

        self.wait(is_attached, 10, "strace to be attached")

    def _stall(self, step: Step) -> None:
        self.log.come() if step.ends else self.log.stall()

    def _close(self, step: Step) -> None:
        self.log.come() if step.ends else self.log.leave()

    def _storm(self, step: Step) -> None:
        for luck in step.luck:
            for _ in range(1 + int(luck * 5)):
                self.pool.signal(planning.STORM[int(luck * 1000) % len(planning.STORM)])

    def _config(self, step: Step) -> None:
        """Write the file anew, in place or at once, or take it away; then mostly HUP."""
        how, which, at_once, asks, *_ = step.luck
        files = planning.BROKEN if how < 1 / 3 else planning.CONFIGS
        content = files[int(which * len(files))]
        if self.config.is_dir():
            self.config.rmdir()
        if how > 0.95:
            self.config.unlink(missing_ok=True)
        elif how > 0.9:
            self.config.unlink(missing_ok=True)
            self.config.mkdir()
        elif at_once < 1 / 2:
            new = self.folder / "new.toml"
            new.write_bytes(content)
            shutil.move(new, self.config)
        else:
            self.config.write_bytes(content)
        if asks < 0.8:
            self.pool.signal("HUP")

    def _hangup(self, step: Step) -> None:
        for _ in range(1 + int(step.luck[0] * 3)):
            self.pool.signal("HUP")
