"""Asleep, srvinit does not wake: nothing polls, and nothing is due that nobody waits for.

A process that sleeps is switched out, voluntarily, once; it is counted again only after it woke.
So the same count before and after is the proof, and the time in between is what is tested here.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import proc
import pytest
from scenes import BIND, LISTEN, QUICK, python, switches, wait_until_quiet

if TYPE_CHECKING:
    from scenes import Start

#: The longest of the default settings that runs after a start is restart.reset, 10 s; here it is
#: made shorter, so that a pool has nothing left to be done after a second.
SOON = "--restart-reset=100ms"
NOTIFIES = """
import os, signal, socket
teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
teller.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
signal.pause()
"""
ASLEEP_S = float(os.environ.get("SRVINIT_ASLEEP_S", "3"))


@pytest.mark.parametrize(
    ("options", "worker"),
    [
        ([BIND, *LISTEN], python("web.py")),
        (["--worker-require=notify"], [sys.executable, "-S", "-c", NOTIFIES]),
        ([], python("talk.py")),
        (["--http=127.0.0.1:0"], python("talk.py")),
        (["--recycle-watch=/etc/passwd"], python("talk.py")),
    ],
    ids=["listen", "notify", "online", "http", "watch"],
)
def test_a_quiet_srvinit_sleeps(srvinit: Start, options: list[str], worker: list[str]) -> None:
    """No wake-up at all, whatever ready means."""
    pool = srvinit("-w2", QUICK, SOON, *options, "--", *worker)
    pool.wait_event("srvinit.ready", within=30)
    wait_until_quiet(pool)

    before = switches(pool.pid)
    time.sleep(ASLEEP_S)

    assert switches(pool.pid) - before == 0
    assert proc.state(pool.pid) == "S"


def test_srvinit_goes_back_to_sleep_after_a_recycle(srvinit: Start) -> None:
    """What a recycle has to wait for is over when it is over."""
    pool = srvinit("-w2", QUICK, SOON, BIND, *LISTEN, "--", *python("web.py"))
    pool.wait_event("srvinit.ready", within=30)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    wait_until_quiet(pool)

    before = switches(pool.pid)
    time.sleep(ASLEEP_S)

    assert switches(pool.pid) - before == 0


SETTLES = """
import os, sys
from srvinit import cli
from srvinit.kernel import signals
signals.block()
sys.exit(cli.main(sys.argv[1:], set(), settled=lambda: os.write(2, b"given back\\n")))
"""


def test_what_only_a_start_needed_is_given_back_at_the_first_rest(srvinit: Start) -> None:
    """Twice in all: once the first workers run, and before the first long sleep."""
    pool = srvinit(
        "-w1", QUICK, SOON, "--", *python("talk.py"), run=[sys.executable, "-c", SETTLES]
    )
    pool.wait_event("srvinit.ready")
    wait_until_quiet(pool)
    pool.signal("HUP")
    pool.wait_event("recycle.finished")
    wait_until_quiet(pool)

    assert pool.strays == ["given back"] * 2
