"""What chaos does and when, decided by its seed alone: the same seed, the same plan.

Time is real, so what a step meets depends on the machine. A step that is late is done in its turn.
"""

from __future__ import annotations

import random
from typing import NamedTuple

#: What is done, and how often beside the others. A pair is begun, and ended after a while.
WEIGHTS = {
    "kill": 5,
    "segv": 2,
    "oom": 2,  # the kernel's OOM killer takes a worker
    "stop": 3,  # a worker; ended by CONT
    "freeze": 1,  # srvinit itself; ended by CONT
    "frost": 2,  # the freezer's cgroup holds a worker, or srvinit and all of them
    "forks": 2,  # the pids cgroup lets srvinit fork nobody
    "clock": 3,  # the wall clock jumps by up to a day, for srvinit and all of its workers
    "descriptors": 2,  # srvinit may open no more (RLIMIT_NOFILE)
    "inject": 2,  # a system call of srvinit fails: mostly the fork
    "stall": 2,  # nobody reads the log
    "close": 1,  # its reader goes away, and another comes
    "storm": 3,  # signals, without a pause
    "config": 4,  # the file written anew, well or badly; mostly HUP follows
    "recycle": 4,
}
#: How long those last that last: shorter than what clients or srvinit's deadlines would wait.
LASTS_S = {
    "stop": (0.1, 1.2),
    "freeze": (0.1, 0.6),
    "frost": (0.1, 1.0),
    "forks": (0.2, 1.0),
    "clock": (0.1, 1.0),
    "descriptors": (0.2, 1.0),
    "inject": (0.2, 0.8),
    "stall": (0.3, 2.0),
    "close": (0.1, 1.0),
}
#: What does not go together: strace lets go of nobody who is frozen (ptrace(2)).
APART = {
    "stall": ("stall", "close"),
    "close": ("stall", "close"),
    "frost": ("frost", "inject"),
    "inject": ("frost", "inject"),
}
#: Calls that fail while they are injected: (call, errno, strace's `when`).
FAILING = (
    ("clone,?clone3,?fork,?vfork", "EAGAIN", "1+"),
    ("clone,?clone3,?fork,?vfork", "ENOMEM", "1+2"),
    ("pipe2", "ENFILE", "1+"),
    ("memfd_create", "ENOMEM", "1+"),
    ("splice", "ENOSPC", "1+"),
    ("splice", "ENOMEM", "1+"),
)
MODES = ("steered", "swapped", "shared")
STORM = ("HUP", "USR1", "TTIN", "TTOU", "CHLD")
CONFIGS = (
    b"[worker]\ncount = 2\n",
    b"[worker]\ncount = 3\n[recycle]\nmax_surge = 2\n",
    b'[worker]\ncount = 4\n[recycle]\nmax_surge = "50%"\n',
    b"[worker]\ncount = 3\n[recycle]\nmax_surge = 0\nmax_unavailable = 1\n",
    b"",
)
BROKEN = (
    b"[worker\ncount = 3\n",
    b"[worker]\ncuont = 3\n",
    b"[worker]\ncount = -1\n",
    b'[recycle]\nmax_surge = "lots"\n',
    b"[recycle]\nmax_surge = 0\nmax_unavailable = 0\n",
    b"\xff\xfe\x00",
    b"[worker]\ncount = 3\n[worker]\ncount = 2\n",
)


class Step(NamedTuple):
    """One thing to do, `at` seconds after chaos began; `number` joins a beginning and its end."""

    at: float
    number: int
    ends: bool
    what: str
    luck: tuple[float, ...]

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.at:6.2f} s  {'end of ' * self.ends}{self.what} ({self.number})"


class Plan(NamedTuple):
    """All that is done in one run."""

    seed: str
    mode: str  # bind.mode
    recycles_at_the_end: bool  # TERM comes into the middle of a recycle
    clock_jumps: bool  # under libfaketime, which the other runs do without
    steps: list[Step]

    def __str__(self) -> str:
        """Tell it all, for who looks for what went wrong."""
        return "\n".join([f"seed {self.seed}, {self.mode}", *map(str, self.steps)])


def plan(seed: str, seconds: float) -> Plan:
    """Draw what is done in so many seconds; each thing that begins ends within them."""
    draw = random.Random(seed)  # noqa: S311  no secret
    mode = MODES[int(draw.random() * len(MODES))]
    recycles_at_the_end = draw.random() < 1 / 2
    clock_jumps = draw.random() < 1 / 2
    weights = {what: often for what, often in WEIGHTS.items() if clock_jumps or what != "clock"}
    steps: list[Step] = []
    free_at = dict.fromkeys(LASTS_S, 0.0)  # the same thing does not begin twice at a time
    at = 0.0
    while (at := at + draw.uniform(0.02, 0.4)) < seconds:
        what = draw.choices(list(weights), list(weights.values()))[0]
        luck = tuple(draw.random() for _ in range(8))
        lasts_s = draw.uniform(*LASTS_S.get(what, (0.0, 0.0)))
        if what not in LASTS_S:
            steps.append(Step(at, len(steps), False, what, luck))  # noqa: FBT003
        elif at >= free_at[what]:
            for kind in APART.get(what, (what,)):
                free_at[kind] = at + lasts_s
            number = len(steps)
            steps.append(Step(at, number, False, what, luck))  # noqa: FBT003
            steps.append(Step(min(at + lasts_s, seconds), number, True, what, luck))  # noqa: FBT003
    return Plan(seed, mode, recycles_at_the_end, clock_jumps, sorted(steps))
