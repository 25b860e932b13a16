"""A worker that says what happens to it, on stdout: "ready PID", then "got TERM PID" and so on.

    talk.py [WORD...]

    end=TERM:0,QUIT:3   the signals that end it, each with the exit status; TERM:0 if not given
    linger=SECONDS      the time it takes to end
    child               also run a process in its group that tells of "child got ..."; at its end it
                        sends that one RTMIN+10 and waits: all that had come before is told by then
    orphan              leave a process behind, in a session of its own (else it is killed with the
                        group), that tells of "orphan got ..." and ends of USR1 with 7
    say=NAME,...        tell the values of these variables as "said NAME=VALUE"

No signal acts on it by itself: all are taken in by sigwait, by number where several are pending.
"""

from __future__ import annotations

import os
import signal
import sys
import time

LEFT_ALONE = {"KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS"}
LAST = "RTMIN+10"


def name_of(number: int) -> str:
    """Return a signal's name without SIG: TERM, RTMIN+3."""
    if number >= signal.SIGRTMIN:
        return f"RTMIN+{number - signal.SIGRTMIN}".removesuffix("+0")
    return signal.Signals(number).name.removeprefix("SIG")


NUMBERS = {name_of(number): number for number in signal.valid_signals()}
TAKEN = {number for name, number in NUMBERS.items() if name not in LEFT_ALONE}


def say(text: str) -> None:
    """Write a line in one piece: several workers share stdout."""
    os.write(1, f"{text} {os.getpid()}\n".encode())


def report(prefix: str, ends: dict[str, int]) -> int:
    """Say each signal until one is among `ends`; return its status."""
    while True:
        name = name_of(signal.sigwait(TAKEN))
        say(f"{prefix}got {name}")
        if name in ends:
            return ends[name]


def main(words: list[str]) -> int:
    """Talk until a signal ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
    options = dict(word.partition("=")[::2] for word in words)
    pairs = [pair.split(":") for pair in options.get("end", "TERM:0").split(",")]
    child = 0
    if "child" in options:
        child = os.fork()
        if child == 0:
            say("child ready")
            return report("child ", {LAST: 0})
    if "orphan" in options:
        between = os.fork()
        if between == 0:
            if os.fork() == 0:
                os.setsid()
                say("orphan ready")
                return report("orphan ", {"USR1": 7})
            return 0
        os.waitpid(between, 0)
    for name in filter(None, options.get("say", "").split(",")):
        os.write(1, f"said {name}={os.environ.get(name)} {os.getpid()}\n".encode())
    say("ready")
    status = report("", {name: int(status) for name, status in pairs})
    if child:
        os.kill(child, NUMBERS[LAST])
        os.waitpid(child, 0)
    time.sleep(float(options.get("linger", "0")))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
