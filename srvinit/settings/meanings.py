"""The names of signals, and what each means to srvinit unless a setting says otherwise.

Names are written without SIG everywhere: "TERM", "RTMIN+3". Each number has one name; signal(7)
knows others for some (CLD, POLL, IOT, RTMAX-n), which are read and turned into ours.
"""

from __future__ import annotations

from srvinit.settings.values import RefusedError, is_digits, listed, pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

ALIASES = {"CLD": "CHLD", "POLL": "IO", "IOT": "ABRT"}


def _signal_names() -> dict[str, int]:
    names = {
        name[3:]: int(number)
        for name, number in vars(_signal).items()
        if name[:3] == "SIG" and name[3] != "_" and name[3:] not in ALIASES
    }
    first, last = names.pop("RTMIN"), names.pop("RTMAX")
    names["RTMIN"] = first
    names.update((f"RTMIN+{number - first}", number) for number in range(first + 1, last + 1))
    return names


SIGNAL_NAMES = _signal_names()  # name -> number; one name for each number

MEANINGS = (
    "shutdown",  # graceful, after shutdown.delay
    "interrupt",  # graceful, without shutdown.delay: a person is waiting
    "recycle",
    "scale-up",
    "scale-down",
    "forward",  # to every live worker
    "ignore",
    "window",  # to a single worker that owns the terminal, and to no other
    "stop-self",  # job control, as a terminal user expects of one interactive worker
    "continue",
)

NEVER = {"KILL", "STOP", "CHLD"}  # the kernel's, and the one by which we know of exits
# Raised by the kernel for a fault of the receiving program itself. Blocking them is undefined or
# fatal (sigprocmask(2)), so srvinit never takes them in. PIPE and XFSZ are ignored by Python.
FAULTS = {"SEGV", "BUS", "FPE", "ILL", "TRAP", "SYS", "ABRT", "PIPE", "XFSZ"}
_NOT_TAKEN_IN = NEVER | FAULTS

DEFAULT_MEANINGS = dict.fromkeys(
    [name for name in SIGNAL_NAMES if name not in _NOT_TAKEN_IN], "forward"
) | {
    "TERM": "shutdown",
    "INT": "interrupt",
    "HUP": "recycle",
    "TTIN": "scale-up",
    "TTOU": "scale-down",
    "RTMIN+3": "shutdown",  # container engines send it where they take PID 1 for an init
    "WINCH": "window",
    "TSTP": "stop-self",
    "CONT": "continue",
}


def signal_name(value: object) -> str:
    """Read a signal: TERM, SIGTERM, term, 15, RTMIN+3, RTMAX-27, 37."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise RefusedError("expected the name of a signal")
    if is_digits(text):
        found = [name for name, number in SIGNAL_NAMES.items() if number == int(text)]
        if not found:
            raise RefusedError("there is no signal of this number")
        return found[0]
    name = text.upper().removeprefix("SIG")
    name = ALIASES.get(name, name)
    if name.startswith("RTMAX"):
        name = _from_rtmax(name)
    if name not in SIGNAL_NAMES:
        from srvinit.settings.spelling import nearest

        near = nearest(name, SIGNAL_NAMES, 2)
        hint = f", did you mean {near}?" if near else ""
        raise RefusedError(f"expected the name of a signal{hint or ', as TERM'}")
    return name


def _from_rtmax(name: str) -> str:
    back = name.removeprefix("RTMAX").removeprefix("-") or "0"
    steps = SIGNAL_NAMES["RTMIN"] - _signal.SIGRTMAX + int(back) if is_digits(back) else 1
    if steps > 0:
        return name
    return f"RTMIN+{-steps}" if steps else "RTMIN"


def stop_signal(value: object) -> str:
    """Read a signal that a program can take as a request to stop."""
    name = signal_name(value)
    if name in NEVER:
        raise RefusedError(f"{name} cannot ask a worker to stop; expected TERM, QUIT, INT, USR1...")
    return name


def meaning(value: object) -> tuple[str, str]:
    """Read SIGNAL=MEANING, where the meaning may be the name of another signal."""
    try:
        written, means = pair(value)
    except RefusedError:
        raise RefusedError("expected SIGNAL=MEANING, as QUIT=shutdown") from None
    name = signal_name(written)
    if name in NEVER:
        raise RefusedError(f"{name} cannot be mapped: no program can take it for something else")
    if name in FAULTS:
        raise RefusedError(f"{name} cannot be mapped: srvinit does not take it in")
    if means in MEANINGS:
        return name, means
    try:
        target = signal_name(means)
    except RefusedError:
        from srvinit.settings.spelling import nearest

        near = nearest(means, (*MEANINGS, *SIGNAL_NAMES), 2)
        hint = f", did you mean {near}?" if near else ""
        words = f"{', '.join(MEANINGS)} or the name of another signal"
        raise RefusedError(f"expected one of {words} after the ={hint}") from None
    if target in NEVER:
        others = listed(sorted(NEVER))
        raise RefusedError(f"{name} cannot be turned into {others}")
    return name, target
