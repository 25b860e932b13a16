"""Probes and metrics: what they say, and that PID 1 never notices how the one who says it fares."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import proc
import pytest
from flooding import Flood
from load import Load
from probing import (
    HTTP,
    address_of,
    ask,
    ask_at,
    connected,
    fds_of,
    helper_of,
    metric,
    sockets_of,
)
from scenes import (
    BIND,
    LISTEN,
    QUICK,
    SLACK_S,
    WEB,
    as_root,
    at,
    entering,
    port_of,
    python,
    start_web,
    stop,
    switches,
    wait_until_quiet,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Srvinit
    from scenes import Start

SECRET = "s3cr3t-of-the-worker"  # noqa: S105  of a test
EXPECTED = ":PORT, HOST:PORT, [IPV6]:PORT or unix:PATH"
TAKEN = "is an address that workers serve: expected one that is not in bind"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


# --- what is answered ----------------------------------------------------------------------------


def test_each_path_answers_and_says_what_it_is_for(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w2", HTTP)

    assert ask(pool, "/livez") == (200, "srvinit lives, and is serving\n")
    assert ask(pool, "/readyz") == (200, "2 of 2 workers serve\n")
    assert ask(pool, "/readyz", method="HEAD") == (200, "")
    assert json.loads(ask(pool, "/status")[1])["count"] == 2
    assert ask(pool, "/metrics")[0] == 200
    assert ask(pool, "/metrics", accept=OPENMETRICS)[1].endswith("# EOF\n")
    assert ask(pool, "/") == (404, "there is /livez, /readyz, /metrics, /status\n")
    assert ask(pool, "/livez", method="POST") == (405, "only GET and HEAD\n")
    assert stop(pool) == 0


@pytest.mark.parametrize("address", [":0", "[::1]:0", "localhost:0", "unix:{}/probes"])
def test_it_answers_wherever_bind_could_listen(
    srvinit: Start, tmp_path: Path, address: str
) -> None:
    pool = start_web(srvinit, f"--http={address.format(tmp_path)}")

    assert ask(pool, "/livez")[0] == 200
    assert stop(pool) == 0
    assert list(tmp_path.iterdir()) == [], "a Unix socket's file goes with it"


def test_an_address_that_is_taken_is_one_clear_line_and_nothing_is_started(
    srvinit: Start, port: int
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        pool = srvinit(f"--http=127.0.0.1:{port}", BIND, "--", *WEB)

        assert pool.exit_status() == 1
    failed = pool.found("socket.failed")[0]
    assert failed["message"] == (
        f"cannot bind 127.0.0.1:{port}: bind 127.0.0.1:{port}: Address already in use"
        " (EADDRINUSE); no worker was started"
    )
    assert pool.found("worker.started") == []


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("--http=9090", f"--http '9090': expected {EXPECTED}: did you mean :9090?"),
        ("--http=udp::9090", f"--http 'udp::9090': expected {EXPECTED}"),
        ("--http=[::1]:x", "--http '[::1]:x': expected a port from 0 to 65535 at the end"),
        ("--http=:81", f"http :81 {TAKEN} (http: --http, bind: --bind)"),
    ],
    ids=["no colon", "udp", "port", "bind's own"],
)
def test_an_address_that_cannot_be_is_refused_in_one_line(
    srvinit: Start, option: str, fault: str
) -> None:
    pool = srvinit(option, "--bind=:81", "--", *WEB)

    assert pool.exit_status() == 2
    assert pool.lines == [f"srvinit: {fault}"]


def test_metrics_tell_what_has_happened(srvinit: Start) -> None:
    """A crash, a recycle, memory: each is there, with its reason or outcome."""
    pool = start_web(srvinit, "-w2", HTTP, "--restart-delay=50ms", "--restart-reset=50ms")
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_event("worker.ready", nth=3)
    pool.signal("HUP")
    took = pool.wait_event("recycle.finished", within=20)["seconds"]

    def scrape() -> str:
        text = ask(pool, "/metrics")[1]
        return text if metric(text, "srvinit_recycles_total", outcome="finished") else ""

    text = proc.wait_until(scrape, 5, "the recycle to be told of")
    assert metric(text, "srvinit_worker_restarts_total", reason="crash") == 1
    assert metric(text, "srvinit_worker_restarts_total", reason="clean-exit") == 0
    assert metric(text, "srvinit_workers_started_total") == 5
    assert metric(text, "srvinit_recycle_duration_seconds_count") == 1
    assert metric(text, "srvinit_recycle_duration_seconds_sum") == took
    assert metric(text, "srvinit_recycle_last_duration_seconds") == took
    assert metric(text, "srvinit_generation") == 2
    assert metric(text, "srvinit_worker_resident_memory_bytes", slot="1") > 1_000_000
    assert metric(text, "srvinit_worker_proportional_memory_bytes", slot="1") > 100_000
    assert metric(text, "srvinit_worker_processes", slot="1") == 1
    assert metric(text, "srvinit_resident_memory_bytes") > 1_000_000
    assert stop(pool) == 0


def test_metrics_tell_what_a_worker_computes(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w1", HTTP)

    def computed() -> float:
        text = ask(pool, "/metrics")[1]
        return metric(text, "srvinit_worker_cpu_seconds_total", slot="0", mode="user")

    # The kernel counts by its clock's ticks: who is never there at one has computed nothing.
    with Load(port_of(pool), new=4, kept=4, rate=1000):
        proc.wait_until(computed, 20, "a tick to come while it computes")
    assert stop(pool) == 0


@pytest.mark.parametrize("mode", ["shared", "steered"])
def test_connections_that_wait_are_told_by_address(srvinit: Start, mode: str) -> None:
    options = (BIND, HTTP, f"--bind-mode={mode}", "--bind-backlog=50")
    pool = srvinit("-w1", *options, "--", "sleep", "100", pid1=True)
    address = pool.wait_event("socket.bound")["address"]
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(address))

        text = ask(pool, "/metrics")[1]

    assert metric(text, "srvinit_accept_queue_length", address=address) == 3
    assert metric(text, "srvinit_accept_queue_limit", address=address) == 50
    has_its_own = 'srvinit_worker_accept_queue_length{slot="0"} 3.0' in text
    assert has_its_own == (mode == "steered")
    assert metric(text, "srvinit_listen_overflows_total") >= 0


@as_root
@pytest.mark.parametrize("how", ["none", "another namespace's"])
def test_where_proc_does_not_show_srvinit_the_answer_says_so(srvinit: Start, how: str) -> None:
    if how == "none":
        prefix = ("unshare", "--mount", "sh", "-c", 'umount -l /proc; exec "$@"', "sh")
    else:
        prefix = ("unshare", "--pid", "--fork", "--kill-child")
    pool = srvinit(HTTP, "--", "sleep", "100", prefix=prefix)

    for path in ("/livez", "/readyz", "/status", "/metrics"):
        status, said = ask(pool, path)
        assert status == 503
        assert said == "srvinit's status cannot be read: /proc is not of this PID namespace\n"


def test_c51_no_secret_is_told(srvinit: Start) -> None:
    command = ["sh", "-c", "sleep 100", "x", f"--password={SECRET}"]
    pool = srvinit(HTTP, "--", *command, pid1=True, environ={"TOKEN": SECRET})
    pool.wait_event("srvinit.ready")

    for path in ("/livez", "/readyz", "/status", "/metrics"):
        assert SECRET not in ask(pool, path)[1]


def test_without_prometheus_client_the_rest_answers(srvinit: Start, tmp_path: Path) -> None:
    """One line of the log says so, and the answer says what to install."""
    for name in ("structlog", "h11"):
        (tmp_path / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    folders = [str(Path(__file__).parents[2]), str(tmp_path)]
    line = f"import sys; sys.path += {folders!r}; from srvinit.__main__ import main; main()"
    pool = srvinit(HTTP, "--", "sleep", "100", run=[sys.executable, "-I", "-S", "-c", line])
    said = "prometheus_client is not installed (pip install 'srvinit[metrics]')"

    assert pool.wait_event("endpoint.started")["next"] == f"/metrics is answered with 501: {said}"
    assert ask(pool, "/metrics") == (501, f"{said}\n")
    assert ask(pool, "/livez")[0] == 200


# --- the end -------------------------------------------------------------------------------------


def test_c38_readiness_is_off_at_once_and_the_port_answers_to_the_end_of_the_drain(
    srvinit: Start,
) -> None:
    """503 within 100 ms of TERM, everything served for 5 s (1 s here), then refused; always alive.

    srvinit's own part is read off its status, which says when each was: how soon a test gets an
    answer is the machine's business too.
    """
    pool = start_web(srvinit, "-w3", HTTP, "--shutdown-delay=1s")
    port = port_of(pool)
    assert ask(pool, "/readyz")[0] == 200

    began = time.monotonic()
    pool.signal("TERM")
    while ask(pool, "/readyz")[0] == 200:
        assert time.monotonic() - began < SLACK_S
    assert ask(pool, "/readyz") == (503, "draining: srvinit is shutting down\n")
    status = json.loads(ask(pool, "/status")[1])
    assert status["published_at"] - status["shutdown"]["began_at"] < 0.1

    served_s = 0.0
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
        while True:
            with connected(f"127.0.0.1:{port}") as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.0 200")
            served_s = time.monotonic() - began
            assert (ask(pool, "/readyz")[0], ask(pool, "/livez")[0]) == (503, 200)
            time.sleep(0.05)  # the pace of a load balancer's checks, as the case has it
    assert 0.8 < served_s < 3
    assert pool.exit_status() == 0


# It leaves the worker's group, so that it does not end with that, and takes its time.
ORPHAN = """setsid sh -c 'trap "" TERM; while ! test -e {}; do sleep 0.01; done' & exec sleep 100"""


def test_it_lives_to_the_end_and_counts_for_nothing(srvinit: Start, tmp_path: Path) -> None:
    """While the last orphan is awaited /livez is 200; then all are gone, and the status is 0."""
    go = tmp_path / "go"
    command = ["sh", "-c", ORPHAN.format(go)]
    pool = srvinit(HTTP, "--shutdown-margin=10s", "--", *command, pid1=True)
    pool.wait_event("srvinit.ready")
    pool.signal("TERM")
    pool.wait_event("shutdown.sweeping")

    told = proc.wait_until(
        lambda: ask(pool, "/livez")[1].endswith("sweeping\n"), 5, "the sweep to be told of"
    )
    assert told
    assert ask(pool, "/readyz")[0] == 503
    go.touch()

    assert pool.exit_status() == 0
    assert pool.found("endpoint.died") == []
    assert pool.found("shutdown.sweep_killed") == []


def test_without_orphans_the_end_is_as_quiet_as_ever(srvinit: Start) -> None:
    pool = start_web(srvinit, HTTP)
    pool.wait_event("endpoint.started")

    assert stop(pool) == 0
    names = [event["event"] for event in pool.events]
    assert names[-2:] == ["worker.exited", "srvinit.exiting"]
    assert at(pool.events[-1]) - at(pool.events[-2]) < 1


def test_if_srvinit_is_killed_what_answers_ends_by_itself(srvinit: Start) -> None:
    pool = srvinit(HTTP, "--", "sleep", "100")
    pool.wait_event("srvinit.ready")
    helper = helper_of(pool)
    assert ask(pool, "/livez")[0] == 200

    os.kill(pool.pid, signal.SIGKILL)

    proc.wait_until(lambda: proc.state(helper) in "XZ", 5, "the helper to end")


# --- misfortunes ---------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(pool: Srvinit) -> Iterator[None]:
    os.kill(helper_of(pool), signal.SIGSTOP)
    yield


@contextlib.contextmanager
def flooded(pool: Srvinit) -> Iterator[None]:
    """Ask without end, on connections that are never read, and with nonsense."""
    with Flood(address_of(pool), source="127.0.0.2") as flood:
        flood.wait_connections(3_000)
        yield
        flood.wait_connections(3_000)  # it has not ended


@contextlib.contextmanager
def killed_again_and_again(pool: Srvinit) -> Iterator[None]:
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.01):
            for pid in proc.children(pool.pid):
                if proc.read(f"/proc/{pid}/comm") == b"srvinit-http\n":
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    over.set()
    thread.join()
    assert len(pool.found("endpoint.died")) > 2


@pytest.mark.parametrize("misfortune", [stopped, flooded, killed_again_and_again])
def test_srvinit_does_not_notice_how_what_answers_fares(
    srvinit: Start, misfortune: Callable[[Srvinit], contextlib.AbstractContextManager[None]]
) -> None:
    """Recycles under load lose nothing meanwhile, no worker is restarted, the end is clean."""
    pool = start_web(srvinit, "-w2", HTTP)
    with misfortune(pool), Load(port_of(pool), new=8, kept=0, rate=60, timeout=5) as load:
        load.wait_requests(20)
        for number in (2, 3):
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=20, generation=number)
        load.wait_requests(20)
        figures = load.stop()

    assert figures["new"]["lost"] == 0
    assert len(pool.found("worker.started")) == 6
    assert stop(pool) == 0
    assert pool.found("shutdown.sweep_killed") == []


def test_it_is_started_again_after_ever_longer_pauses(srvinit: Start) -> None:
    pool = srvinit(HTTP, "--", "sleep", "100", pid1=True)
    for number in (1, 2, 3):
        os.kill(helper_of(pool, nth=number), signal.SIGKILL)
        died = pool.wait_event("endpoint.died", nth=number)

        again = pool.wait_event("endpoint.started", nth=number + 1)

        assert died["reason"] == "SIGKILL"
        assert died["retry_s"] == 0.1 * 2**number
        assert at(again) - at(died) >= died["retry_s"]
    assert ask(pool, "/livez")[0] == 200
    assert pool.found("orphan.reaped") == []
    assert [event["slot"] for event in pool.found("worker.exited")] == []


@as_root
def test_without_a_process_for_it_srvinit_goes_on_and_tries_again(
    srvinit: Start, cgroup: Callable[..., Path]
) -> None:
    group = cgroup("pids", {})
    pool = srvinit("-w2", HTTP, "--", "sleep", "100", pid1=True, prefix=entering(group))
    helper = helper_of(pool)
    workers = [event["pid"] for event in pool.found("worker.started")]

    (group / "pids.max").write_text(str(int((group / "pids.current").read_text()) - 1))
    os.kill(helper, signal.SIGKILL)
    died = pool.wait_event("endpoint.died", pid=None)
    (group / "pids.max").write_text("max")
    pool.wait_event("endpoint.started", nth=2)

    assert died["reason"].startswith("fork a helper: Resource temporarily unavailable (EAGAIN)")
    assert ask(pool, "/livez")[0] == 200
    assert [event["pid"] for event in pool.found("worker.started")] == workers
    assert pool.found("srvinit.fault") == []


# --- what it has, and who has not ----------------------------------------------------------------


def test_what_answers_has_nothing_of_the_workers_and_no_signal_ends_it(srvinit: Start) -> None:
    pool = start_web(srvinit, "-w2", HTTP)
    helper = helper_of(pool)
    assert ask(pool, "/livez")[0] == 200, "it has come so far"

    assert not sockets_of(helper) & sockets_of(pool.workers()[0])
    assert {proc.link(f"/proc/{helper}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    # 0 to 2, the listener, the lifeline, what it waits with; the question's connection has to end
    proc.wait_until(lambda: len(fds_of(helper)) == 6, 5, "nothing else to be open")
    assert os.getpgid(helper) == helper
    assert proc.read(f"/proc/{helper}/cmdline").startswith(b"srvinit: probes and metrics at 127.")
    for name in ("TERM", "INT", "HUP", "USR1", "TSTP", "ALRM"):
        os.kill(helper, signal.Signals[f"SIG{name}"])
    assert ask(pool, "/livez")[0] == 200
    assert stop(pool) == 0


def test_c18_a_worker_has_its_sockets_and_nothing_else(srvinit: Start) -> None:
    """Also after a crash and after a recycle."""
    command = ["sh", "-c", "ls /proc/$$/fd; echo all; exec sleep 60"]
    options = ("-w1", HTTP, BIND, BIND, QUICK, "--restart-delay=10ms")
    pool = srvinit(*options, "--", *command, pid1=True)
    worker = pool.outside(pool.wait_event("worker.started")["pid"])
    helper_of(pool)
    pool.wait_output("all")
    os.kill(worker, signal.SIGKILL)
    pool.wait_output("all", nth=2)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20)
    pool.wait_output("all", nth=3)

    lists = [fds.split() for fds in pool.output.decode().split("all\n")[:-1]]
    assert lists == [["0", "1", "2", "3", "4"]] * 3


LIBRARY = """
import os, sys, time
import srvinit
def work(worker):
    paths = [f"/proc/self/fd/{fd}" for fd in range(3, 100)]
    links = [os.readlink(path) for path in paths if os.path.lexists(path)]
    print("has", *[link for link in links if link.startswith("socket:")], flush=True)
    time.sleep(100)
srvinit.srv({"worker": {"count": 1}, "http": "127.0.0.1:0"}, work)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child left", flush=True)
"""


def test_a_library_s_workers_have_nothing_of_it_and_no_child_is_left(srvinit: Start) -> None:
    pool = srvinit(run=[sys.executable, "-c", LIBRARY])
    pool.wait_output("has")
    helper = helper_of(pool)
    assert ask(pool, "/livez")[0] == 200
    worker = pool.wait_event("worker.started")["pid"]
    os.kill(worker, signal.SIGKILL)
    pool.wait_output("has", nth=2, within=20)  # one that was forked beside the helper

    lines = [line for line in pool.output.decode().splitlines() if line.startswith("has")]
    assert lines == ["has", "has"]
    assert proc.state(helper) == "S"
    pool.signal("TERM")
    pool.wait_output("no child left", within=20)
    assert pool.exit_status() == 0


# --- settings that change ------------------------------------------------------------------------


def test_hup_takes_up_another_address_and_none(srvinit: Start, tmp_path: Path) -> None:
    config = tmp_path / "srvinit.toml"
    config.write_text(f'http = "unix:{tmp_path}/one"\n')
    pool = srvinit(QUICK, f"--config={config}", "--", "sleep", "100", pid1=True)
    assert ask(pool, "/livez")[0] == 200

    config.write_text(f'http = "unix:{tmp_path}/two"\n')
    pool.signal("HUP")
    again = pool.wait_event("endpoint.started", nth=2)
    assert again["address"] == f"unix:{tmp_path}/two"
    assert ask_at(again["address"], "/livez")[0] == 200
    assert not (tmp_path / "one").exists()

    config.write_text("")
    pool.signal("HUP")
    assert pool.wait_event("endpoint.closed")["address"] == again["address"]
    assert not (tmp_path / "two").exists()

    config.write_text(f'http = "unix:{tmp_path}/three"\n')
    pool.signal("HUP")
    third = pool.wait_event("endpoint.started", nth=3)
    assert ask_at(third["address"], "/livez")[0] == 200
    assert pool.found("endpoint.died") == []
    assert stop(pool) == 0


def test_an_address_that_cannot_be_had_keeps_the_old_one(
    srvinit: Start, tmp_path: Path, port: int
) -> None:
    config = tmp_path / "srvinit.toml"
    config.write_text(f'http = "unix:{tmp_path}/one"\n')
    pool = srvinit(QUICK, f"--config={config}", "--", "sleep", "100", pid1=True)
    pool.wait_event("endpoint.started")

    with socket.create_server(("127.0.0.1", port)):
        config.write_text(f'http = "127.0.0.1:{port}"\n')
        pool.signal("HUP")
        rejected = pool.wait_event("config.rejected")

    assert "Address already in use" in rejected["faults"][0]
    assert ask(pool, "/livez")[0] == 200
    assert len(pool.found("endpoint.started")) == 1


# --- what it costs -------------------------------------------------------------------------------


def test_a_hundred_scrapes_a_second_do_not_wake_srvinit(srvinit: Start) -> None:
    """Not once, and so not for a tick of the CPU."""
    pool = srvinit(
        "-w2", HTTP, QUICK, "--restart-reset=50ms", BIND, *LISTEN, "--", *python("web.py")
    )
    pool.wait_event("srvinit.ready", within=30)
    assert ask(pool, "/metrics")[0] == 200
    before = wait_until_quiet(pool, 20)

    began, scrapes = time.monotonic(), 0
    while scrapes < 200:
        assert ask(pool, "/metrics")[0] == 200
        scrapes += 1
        time.sleep(max(0.0, began + scrapes / 100 - time.monotonic()))  # the rate itself

    assert switches(pool.pid) == before


def test_its_own_queue_is_the_kernels_while_nobody_answers(srvinit: Start) -> None:
    """Who asks while it is being started again waits for it, and is not refused."""
    pool = srvinit(HTTP, "--", "sleep", "100", pid1=True)
    helper = helper_of(pool)
    assert ask(pool, "/livez")[0] == 200
    os.kill(helper, signal.SIGKILL)
    pool.wait_event("endpoint.died")

    assert ask(pool, "/livez")[0] == 200
