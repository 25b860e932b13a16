"""srvinitctl beside a real srvinit, as an exec into its container runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import harness
import pytest
from asking import CTL, Answer, ask_ctl, start_ctl, status_of, wait_status
from harness import NOBODY, as_user
from published import VALIDATOR
from scenes import BIND, LISTEN, WEB, anybodys, as_root, start_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Srvinit
    from scenes import Start

pytestmark = as_root  # to enter a namespace

#: Serves in its first generation, and fails in each later one.
SERVES_ONCE = ["sh", "-c", '[ "$SRVINIT_GENERATION" = 1 ] && exec sleep 1000; exit 3']
#: Holds an empty status for as long as it lives, as srvinit does before it has published one.
STARTING = (
    "import os; os.dup2(os.memfd_create('srvinit-status'), 63); print(flush=True); os.read(0, 1)"
)
#: One srvinit, or two, in a PID namespace of which they are not the PID 1.
ONE = '"$@" -w1 --log-level=debug -- sleep 1000 & wait'
TWO = '"$@" -w1 --log-level=debug -- sleep 1000 & ' + ONE


def settled(pool: Srvinit, count: int = 2) -> Srvinit:
    wait_status(pool, lambda one: one["settled"] == count, 30)
    return pool


def start_settling(start: Start, settle: str, *options: str, **how: Any) -> Srvinit:
    """Start two servers that count as ready that long after they are; wait until they are."""
    how.setdefault("pid1", True)
    options = (BIND, *LISTEN, "-w2", f"--recycle-settle={settle}", *options)
    pool = start(*options, "--", *WEB, **how)
    wait_status(pool, lambda one: one["ready"], 30)
    return pool


def generations(pool: Srvinit) -> list[int]:
    return [one["generation"] for one in status_of(pool)["workers"]]


# --- status, ready, live -------------------------------------------------------------------------


def test_status_shows_every_worker_and_json_is_the_whole(srvinit: Start) -> None:
    pool = settled(start_web(srvinit, "-w2"))

    table = ask_ctl(pool, "status")
    whole = ask_ctl(pool, "status", "--json")

    status = json.loads(whole.out)
    assert (table.status, whole.status, table.error, whole.error) == (0, 0, "", "")
    assert list(VALIDATOR.iter_errors(status)) == []
    assert table.out.startswith(f"srvinit {status['version']} (pid 1) is ready: 2 of 2 workers")
    rows = [line.split() for line in table.out.splitlines()[-2:]]
    assert [row[:3] for row in rows] == [
        [str(one["slot"]), str(one["pid"]), "1"] for one in status["workers"]
    ]
    assert f"listens on {pool.found('socket.bound')[0]['address']}" in table.out.splitlines()


@pytest.mark.parametrize("owner", [0, NOBODY], ids=["root", "nobody"])
def test_it_answers_and_obeys_the_user_that_srvinit_runs_as(srvinit: Start, owner: int) -> None:
    """As an exec into a container does it: the image's user, no capability, on its PID 1."""
    prefix = as_user(owner) if owner else ()
    pool = settled(start_web(srvinit, "-w2", prefix=prefix, command=anybodys(WEB)))

    said = {
        words: ask_ctl(pool, *words, user=owner)
        for words in (("ready",), ("live",), ("status",), ("scale", "3"), ("recycle", "--wait"))
    }

    assert [answer.status for answer in said.values()] == [0] * 5, said
    assert said[("ready",)].out == "ready: 2 of 2 workers serve\n"
    assert generations(pool) == [2, 2, 2]
    assert ask_ctl(pool, "stop", user=owner).status == 0
    assert pool.exit_status() == 0


@pytest.mark.parametrize("words", ["ready", "live", "status", "recycle", "scale 2", "stop"])
def test_another_user_is_told_whose_it_is(srvinit: Start, words: str) -> None:
    pool = settled(start_web(srvinit, "-w2"))

    answer = ask_ctl(pool, *words.split(), user=NOBODY)

    assert answer.status == 1
    assert answer.out == ""
    whose = f"process 1 belongs to user 0, and this is user {NOBODY}"
    assert answer.error == f"srvinitctl: {whose}: run as the same user\n"
    assert status_of(pool)["phase"] == "serving"


def test_ready_is_no_and_live_is_yes_while_it_drains(srvinit: Start) -> None:
    pool = settled(start_web(srvinit, "-w2", "--shutdown-delay=30s"))

    pool.signal("TERM")
    pool.wait_event("shutdown.started")
    wait_status(pool, lambda one: not one["ready"])
    answers = [ask_ctl(pool, word) for word in ("ready", "live")]

    assert [answer.status for answer in answers] == [1, 0]
    assert answers[0].out == "not ready: draining: srvinit is shutting down\n"
    pool.signal("INT")
    assert pool.exit_status() == 0


def test_all_of_it_works_on_a_read_only_root(srvinit: Start) -> None:
    prefix = ("sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh")
    pool = settled(start_web(srvinit, "-w2", prefix=prefix))
    enter = ["nsenter", f"--target={pool.pid}", "--mount", "touch", "/written"]
    refused = subprocess.run(enter, capture_output=True, check=False)

    said = [
        ask_ctl(pool, *words.split())
        for words in ("status", "ready", "live", "recycle --wait", "scale 1", "stop")
    ]

    assert b"Read-only file system" in refused.stderr
    assert [answer.status for answer in said] == [0] * 6, said
    assert pool.exit_status() == 0


# --- whom it finds -------------------------------------------------------------------------------


def test_where_nobody_is_srvinit_it_says_so(srvinit: Start) -> None:
    pool = srvinit(run=["sleep", "1000"], pid1=True)

    answers = [ask_ctl(pool, *words) for words in (["ready"], ["status", "--pid", "1"])]

    none = "no srvinit here: no process that this user may look at publishes a status"
    assert [(answer.status, answer.error) for answer in answers] == [
        (1, f"srvinitctl: {none}\n"),
        (1, "srvinitctl: process 1 is no srvinit: it publishes no status\n"),
    ]


def test_the_only_one_is_found_though_it_is_not_pid_1(srvinit: Start) -> None:
    pool = srvinit(run=["sh", "-c", ONE, "sh", *harness.PROGRAM], pid1=True)
    pool.wait_event("worker.settled", within=20)

    answer = ask_ctl(pool, "ready")

    assert (answer.status, answer.out) == (0, "ready: 1 of 1 workers serve\n")


def test_of_several_one_is_to_be_chosen(srvinit: Start) -> None:
    pool = srvinit(run=["sh", "-c", TWO, "sh", *harness.PROGRAM], pid1=True)
    pool.wait_event("worker.settled", within=20, nth=2)
    inside = sorted(event["pid"] for event in pool.found("srvinit.started"))

    several = ask_ctl(pool, "stop")
    chosen = [ask_ctl(pool, "ready", f"--pid={pid}") for pid in inside]

    named = ", ".join(map(str, inside))
    assert several.status == 1
    assert several.error == (f"srvinitctl: 2 srvinits run here: choose one with --pid: {named}\n")
    assert [answer.status for answer in chosen] == [0, 0], chosen


@pytest.fixture
def starting() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-S", "-c", STARTING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_one_that_has_not_published_yet_is_live_and_not_ready(
    starting: subprocess.Popen[bytes],
) -> None:
    said = {
        word: subprocess.run(
            [*CTL, word, f"--pid={starting.pid}"], capture_output=True, text=True, check=False
        )
        for word in ("ready", "live", "status")
    }

    why = f"srvinit (pid {starting.pid}) has not published its status yet: it starts"
    assert (said["ready"].returncode, said["ready"].stdout) == (1, f"not ready: {why}\n")
    assert (said["live"].returncode, said["live"].stdout) == (0, f"live: {why}\n")
    assert (said["status"].returncode, said["status"].stderr) == (1, f"srvinitctl: {why}\n")


# --- recycle -------------------------------------------------------------------------------------


def test_recycle_returns_at_once_without_wait(srvinit: Start) -> None:
    pool = settled(start_web(srvinit, "-w2"))

    answer = ask_ctl(pool, "recycle")

    assert (answer.status, answer.out) == (0, "asked srvinit (pid 1) for a recycle, with SIGHUP\n")
    assert pool.wait_event("recycle.finished", within=30)["generation"] == 2


def test_recycle_waits_until_every_worker_is_new_and_counts_as_ready(srvinit: Start) -> None:
    pool = settled(start_web(srvinit, "-w2"))
    old = pool.workers()

    answer = ask_ctl(pool, "recycle", "--wait")

    status = status_of(pool)
    finished = pool.wait_event("recycle.finished")
    assert (answer.status, answer.error) == (0, "")
    assert answer.out.startswith("recycled to generation 2 in ")
    assert answer.out.endswith(": 2 workers replaced\n")
    assert finished["generation"] == 2
    assert status["settled"] == 2
    assert [one["generation"] for one in status["workers"]] == [2, 2]
    assert not set(old) & set(pool.workers())


def test_recycle_fails_with_the_last_failure_and_its_status(srvinit: Start) -> None:
    options = ("-w1", "--recycle-settle=100ms", "--restart-delay=10ms")
    pool = settled(srvinit(*options, "--", *SERVES_ONCE, pid1=True), 1)

    answer = ask_ctl(pool, "recycle", "--wait")

    last = pool.wait_event("recycle.failed")["last"]
    assert answer.status == 1
    assert answer.error == (
        "srvinitctl: the recycle to generation 2 was given up, the old workers serve on; "
        f"the last failure: {last} (status 3)\n"
    )
    assert last.endswith(": exit 3")
    assert generations(pool) == [1]


def test_recycles_that_coalesce_wait_for_the_pass_that_began_after_them(srvinit: Start) -> None:
    """Three more during the first: all of them wait for the second pass, and there is no third."""
    pool = settled(start_settling(srvinit, "1s"))
    first = start_ctl(pool, "recycle", "--wait")
    pool.wait_event("recycle.started", generation=2)

    more = [start_ctl(pool, "recycle", "--wait") for _ in range(3)]
    wait_status(pool, lambda one: one["recycles"]["requests"] >= 2)
    answers = [Answer(process, 60) for process in (first, *more)]

    assert [answer.status for answer in answers] == [0] * 4, answers
    assert answers[0].out.startswith("recycled to generation 2 ")
    assert {answer.out[:24] for answer in answers[1:]} == {"recycled to generation 3"}
    assert [event["generation"] for event in pool.found("recycle.finished")] == [2, 3]


def test_a_term_in_the_middle_ends_the_wait(srvinit: Start) -> None:
    """Seen from outside the container: inside, the sweep ends srvinitctl as it ends everything."""
    pool = start_settling(srvinit, "30s", "--shutdown-delay=30s", pid1=False)
    waiting = start_ctl(pool, "recycle", "--wait", f"--pid={pool.pid}", inside=False)
    pool.wait_event("recycle.started")

    pool.signal("TERM")
    answer = Answer(waiting, 30)

    assert answer.status == 1
    assert answer.error == ("srvinitctl: srvinit was asked to stop before the recycle was over\n")
    late = ask_ctl(pool, "recycle", f"--pid={pool.pid}", inside=False)
    assert late.error == f"srvinitctl: srvinit (pid {pool.pid}) is draining (SIGTERM)\n"
    pool.signal("INT")


def test_a_srvinit_that_is_gone_ends_the_wait(srvinit: Start) -> None:
    pool = start_settling(srvinit, "30s", pid1=False)
    waiting = start_ctl(pool, "recycle", "--wait", f"--pid={pool.pid}", inside=False)
    pool.wait_event("recycle.started")

    pool.signal("KILL")
    answer = Answer(waiting, 30)

    assert answer.status == 1
    assert answer.error == f"srvinitctl: srvinit (pid {pool.pid}) has ended meanwhile\n"


def test_waiting_ends_at_its_timeout_and_says_how_far_it_came(srvinit: Start) -> None:
    pool = settled(start_settling(srvinit, "500ms"))
    pool.signal("STOP")

    frozen = ask_ctl(pool, "recycle", "--wait", "--timeout=200ms")
    pool.signal("CONT")
    pool.wait_event("recycle.finished", within=30)
    late = ask_ctl(pool, "recycle", "--wait", "--timeout", "0.1")

    assert (frozen.status, late.status) == (1, 1)
    assert frozen.error == ("srvinitctl: srvinit (pid 1) has not taken SIGHUP in: is it stopped?\n")
    assert late.error == (
        "srvinitctl: the recycle to generation 3 is not over after 100 ms, and goes on: "
        "0 of 2 workers replaced\n"
    )


def test_settings_that_were_refused_are_no_success(srvinit: Start, tmp_path) -> None:
    file = tmp_path / "web.toml"
    file.write_text("[recycle]\ntimeout = 5\n")
    pool = settled(start_web(srvinit, "-w1", f"--config={file}"), 1)
    file.write_text("[recycle]\ntiemout = 5\n")

    answer = ask_ctl(pool, "recycle", "--wait")

    assert answer.status == 1
    assert answer.out.startswith("recycled to generation 2")
    assert "but with the old settings, the new were refused: " in answer.error
    assert "recycle.tiemout" in answer.error


def test_another_signal_that_means_recycle_is_used(srvinit: Start) -> None:
    options = ("--signal=HUP=forward", "--signal=RTMIN+5=recycle")
    pool = settled(start_web(srvinit, "-w1", *options), 1)

    answer = ask_ctl(pool, "recycle", "--wait")

    assert answer.status == 0, answer
    assert pool.found("signal.received", signal="RTMIN+5")


def test_where_no_signal_means_recycle_that_is_said(srvinit: Start) -> None:
    pool = settled(start_web(srvinit, "-w1", "--signal=HUP=ignore"), 1)

    answer = ask_ctl(pool, "recycle")

    assert answer.status == 1
    assert answer.error == (
        "srvinitctl: srvinit's settings leave no signal that means recycle: see `signal`\n"
    )


# --- scale and stop ------------------------------------------------------------------------------


def test_scale_goes_up_and_down_by_one_signal_each(srvinit: Start) -> None:
    pool = settled(start_web(srvinit, "-w1"), 1)

    said = [ask_ctl(pool, "scale", number) for number in ("5", "2", "2")]

    assert [answer.out for answer in said] == [
        "5 workers wanted instead of 1\n",
        "2 workers wanted instead of 5\n",
        "2 workers wanted\n",
    ]
    settled(pool, 2)
    changes = [event["after"] for event in pool.found("count.changed")]
    assert changes == [2, 3, 4, 5, 4, 3, 2]


def test_stop_waits_for_the_end(srvinit: Start) -> None:
    """From outside: who is inside is ended with the container."""
    pool = start_web(srvinit, "-w2", pid1=False)
    wait_status(pool, lambda one: one["ready"])

    answer = ask_ctl(pool, "stop", "--wait", f"--pid={pool.pid}", inside=False)

    assert answer.status == 0
    first, last = answer.out.splitlines()
    assert first == f"asked srvinit (pid {pool.pid}) to stop, with SIGTERM"
    assert last.startswith(f"srvinit (pid {pool.pid}) has ended after ")
    assert pool.exit_status() == 0


def test_stop_that_waits_no_longer_says_so(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w1", "--shutdown-delay=30s", pid1=False)
    wait_status(pool, lambda one: one["ready"])
    words = ("stop", "--wait", "--timeout=100ms", f"--pid={pool.pid}")

    answer = ask_ctl(pool, *words, inside=False)
    again = ask_ctl(pool, "stop", f"--pid={pool.pid}", inside=False)

    assert answer.status == 1
    assert answer.error == (f"srvinitctl: srvinit (pid {pool.pid}) has not ended after 100 ms\n")
    assert (again.status, again.out) == (0, f"srvinit (pid {pool.pid}) is draining already\n")
    pool.signal("INT")
    assert pool.exit_status() == 0


def test_stop_from_inside_ends_with_the_sweep(srvinit: Start) -> None:
    """The sweep's TERM, or the end of the namespace, reaches it: neither is an error of srvinit."""
    pool = settled(start_web(srvinit, "-w2"))

    waiting = start_ctl(pool, "stop", "--wait")
    status = pool.exit_status()
    answer = Answer(waiting, 30)

    assert status == 0
    assert answer.status in {0, -signal.SIGKILL, 128 + signal.SIGKILL}
