"""Sockets from outside: taken paths, socket activation, no IPv6, and what workers hold."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import harness
import proc
from scenes import (
    BIND,
    LISTEN,
    QUICK,
    SLACK_S,
    WEB,
    WORKERS,
    at,
    port_of,
    python,
    start_talk,
    start_web,
    stop,
)

if TYPE_CHECKING:
    from pathlib import Path

    from scenes import Start

SH_SLEEP = ("sh", "-c", "ls -m /proc/$$/fd; exec sleep 1000")


def ask_unix(path: str | os.PathLike[str]) -> bytes:
    """Return the first bytes of an answer on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(os.fspath(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(15)


def ask(pool: harness.Srvinit) -> bytes:
    return harness.ask(port_of(pool))


# --- Unix sockets ----------------------------------------------------------------------------


def test_c16_a_path_left_by_a_killed_process_is_replaced(srvinit: Start, tmp_path: Path) -> None:
    """It serves within a second, and a clean exit removes the path."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
        dead.listen()
    pool = srvinit(f"--bind=unix:{path}", *LISTEN, "-w1", "--", *WEB, pid1=True)
    pool.wait_event("srvinit.ready", within=30)
    assert ask_unix(path) == b"HTTP/1.0 200 OK"
    assert at(pool.found("socket.bound")[0]) - at(pool.events[0]) < SLACK_S
    assert stop(pool) == 0
    assert not path.exists()


def test_c16_a_path_that_is_served_is_left_to_who_serves_it(srvinit: Start, tmp_path: Path) -> None:
    """1, no worker, and the other still answers."""
    path = tmp_path / "sock"
    first = srvinit(f"--bind=unix:{path}", *LISTEN, "-w1", "--", *WEB, pid1=True)
    first.wait_event("srvinit.ready", within=30)
    second = srvinit(f"--bind=unix:{path}", "-w1", "--", *WEB, pid1=True)
    assert second.exit_status() == 1
    assert second.found("worker.started") == []
    assert str(path) in second.found("socket.failed")[0]["error"]
    assert ask_unix(path) == b"HTTP/1.0 200 OK"
    assert stop(first) == 0


def test_c16_a_path_that_is_a_file_is_left_alone(srvinit: Start, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    pool = srvinit(f"--bind=unix:{path}", "-w1", "--", *WEB, pid1=True)
    assert pool.exit_status() == 1
    assert path.read_text() == "precious"


def test_c16_a_clean_exit_removes_only_its_own_path(srvinit: Start, tmp_path: Path) -> None:
    """What somebody else has put there meanwhile stays."""
    path = tmp_path / "sock"
    pool = start_talk(srvinit, f"--bind=unix:{path}")
    path.unlink()
    path.write_text("somebody else's")
    assert stop(pool) == 0
    assert path.read_text() == "somebody else's"


# --- socket activation -----------------------------------------------------------------------


def test_c17_listen_pid_is_the_worker_that_is_to_take_the_sockets(srvinit: Start) -> None:
    """Each worker's own pid, through the shell's exec, also where one was replaced."""
    script = 'echo $LISTEN_PID $$ $LISTEN_FDS; exec "$@"'
    options = ("-w3", "--restart-delay=0", "--restart-limit=0")
    pool = start_web(srvinit, *options, command=["sh", "-c", script, "sh", *WEB])
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_event("worker.ready", nth=4)
    lines = [line.split() for line in pool.output.decode().splitlines()]
    assert len(lines) == 4
    assert [line[0] for line in lines] == [line[1] for line in lines]
    assert {line[2] for line in lines} == {"1"}
    assert len({line[0] for line in lines}) == 4
    assert stop(pool) == 0


def test_c17_srvinit_uses_the_sockets_that_it_is_given(srvinit: Start) -> None:
    """LISTEN_FDS with its own pid: fd 3 is served and nothing is bound."""
    prefix = python("activated.py", "1", "self")
    pool = srvinit(*LISTEN, "-w1", QUICK, "--", *WEB, pid1=True, prefix=prefix)
    pool.wait_event("srvinit.ready", within=30)
    assert ask(pool).strip().isdigit()
    assert stop(pool) == 0


def test_c17_sockets_for_another_process_are_not_taken(srvinit: Start) -> None:
    """LISTEN_PID names somebody else: what is at fd 3 is neither used nor passed on."""
    prefix = python("activated.py", "1", "99999")
    pool = srvinit("-w1", "--", *SH_SLEEP, pid1=True, prefix=prefix)
    assert pool.wait_output("0, 1") == "0, 1, 2"
    assert pool.found("socket.bound") == []
    assert stop(pool) == 0


# --- what workers hold -----------------------------------------------------------------------


def test_c18_workers_hold_their_sockets_and_nothing_else(srvinit: Start) -> None:
    """0 to 4 with two binds, whatever srvinit inherited: at first, after crash and recycle."""
    leak = ("sh", "-c", 'exec "$@" 3</dev/null 7</dev/null 9>&1', "sh")
    options = ("-w1", BIND, BIND, QUICK, "--restart-delay=0")
    pool = srvinit(*options, "--", *SH_SLEEP, pid1=True, prefix=leak)
    pool.wait_output("0, 1")
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_output("0, 1", nth=2)
    pool.wait_event("worker.ready", nth=2)
    pool.signal("HUP")
    pool.wait_event("recycle.finished")
    assert pool.output.decode().splitlines() == ["0, 1, 2, 3, 4"] * 3
    assert stop(pool) == 0


def test_c18_with_notify_there_is_nothing_else_either(srvinit: Start) -> None:
    """The notify sockets are srvinit's own."""
    options = ("-w1", BIND, "--worker-require=notify", "--worker-timeout=30s")
    pool = srvinit(*options, "--restart-delay=0", "--", *SH_SLEEP, pid1=True)
    pool.wait_output("0, 1")
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_output("0, 1", nth=2)
    assert pool.output.decode().splitlines() == ["0, 1, 2, 3"] * 2
    assert stop(pool) == 0


def test_the_environment_names_every_widely_spoken_protocol(srvinit: Start) -> None:
    """DESIGN, section 7: each of these is what some server looks for."""
    names = [
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "SERVER_STARTER_PORT",
        "SERVER_STARTER_GENERATION",
        "EINHORN_FD_COUNT",
        "EINHORN_FD_0",
        "EINHORN_FD_1",
        "SRVINIT_WORKER",
        "SRVINIT_GENERATION",
        "NOTIFY_SOCKET",
    ]
    options = ("--bind=web=127.0.0.1:0", BIND)
    pool = start_talk(srvinit, *options, words=(f"say={','.join(names)}",))
    said = [line.split()[1] for line in pool.output.decode().splitlines() if "said" in line]
    told = dict(pair.partition("=")[::2] for pair in said)
    ports = [event["address"].rpartition(":")[2] for event in pool.found("socket.bound")]
    starter = told.pop("SERVER_STARTER_PORT").split(";")
    assert [part.rpartition("=")[2] for part in starter] == ["3", "4"]
    assert [part.partition("=")[0].rpartition(":")[2] for part in starter] == ports
    assert told.pop("LISTEN_FDNAMES").split(":")[0] == "web"
    assert told == {
        "LISTEN_FDS": "2",
        "SERVER_STARTER_GENERATION": "1",
        "EINHORN_FD_COUNT": "2",
        "EINHORN_FD_0": "3",
        "EINHORN_FD_1": "4",
        "SRVINIT_WORKER": "0",
        "SRVINIT_GENERATION": "1",
        "NOTIFY_SOCKET": "None",
    }
    assert stop(pool) == 0


def test_a_server_that_lowers_the_backlog_finds_it_set_back(srvinit: Start) -> None:
    """Pitfall 4: listen(2) with 1 on the shared socket is undone once the worker is ready."""
    script = (
        "import socket, signal, struct; signal.pthread_sigmask(0, [10]);"
        "s = socket.socket(fileno=3); s.listen(1);"
        "size = lambda: s.getsockopt(6, 11, 32)[28:32];"  # TCP_INFO, tcpi_sacked: the backlog
        "print('lowered', *struct.unpack('I', size()), flush=True);"
        "import threading; threading.Thread(target=s.accept, daemon=True).start();"
        "signal.sigwait([10]); print('now', *struct.unpack('I', size()), flush=True)"
    )
    command = [sys.executable, "-S", "-c", script]
    pool = start_web(srvinit, "-w1", "--bind-backlog=77", "--restart-delay=60s", command=command)
    pool.signal("USR1")
    assert pool.wait_output("now") == "now 77"
    assert pool.wait_output("lowered") == "lowered 1"
    assert stop(pool) == 0


def test_a_worker_that_has_left_the_socket_on_its_own_flags_finds_them_so(srvinit: Start) -> None:
    """Pitfall 3: the socket is blocking at first, and O_NONBLOCK is never touched behind anyone."""
    script = (
        "import os, signal; signal.pthread_sigmask(0, [10, 15]);"
        "print('blocking', os.get_blocking(3), flush=True);"
        "os.set_blocking(3, os.environ['SRVINIT_GENERATION'] != '1');"
        "signal.sigwait([10]); print('later', os.get_blocking(3), flush=True); signal.sigwait([15])"
    )
    pool = srvinit("-w1", BIND, QUICK, "--", sys.executable, "-S", "-c", script, pid1=True)
    assert pool.wait_output("blocking") == "blocking True"
    pool.signal("USR1")
    assert pool.wait_output("later") == "later False"
    pool.signal("HUP")
    assert pool.wait_output("blocking", nth=2) == "blocking False"
    pool.wait_event("recycle.finished")
    pool.signal("USR1")
    pool.wait_output("later", nth=2)
    assert stop(pool) == 0


# --- IPv6 ------------------------------------------------------------------------------------


def test_c19_without_ipv6_a_bare_port_is_served_on_ipv4(srvinit: Start) -> None:
    prefix = python("refusing.py", "ipv6")
    pool = srvinit("--bind=:0", *LISTEN, "-w1", "--", *WEB, pid1=True, prefix=prefix)
    pool.wait_event("srvinit.ready", within=30)
    assert ask(pool).strip().isdigit()
    assert stop(pool) == 0


def test_c19_without_ipv6_an_ipv6_address_is_refused_by_name(srvinit: Start, port: int) -> None:
    """1 within a second, naming address and errno; no worker."""
    address = f"[::1]:{port}"
    pool = srvinit(f"--bind={address}", "--", *WEB, pid1=True, prefix=python("refusing.py", "ipv6"))
    assert pool.exit_status() == 1
    error = pool.found("socket.failed")[0]
    assert error["address"] == address
    assert "EAFNOSUPPORT" in error["error"]
    assert at(pool.events[-1]) - at(pool.events[0]) < SLACK_S
    assert pool.found("worker.started") == []


def test_c19_a_bare_port_answers_on_both_families(srvinit: Start) -> None:
    pool = srvinit("--bind=:0", *LISTEN, "-w1", "--", *WEB, pid1=True)
    pool.wait_event("srvinit.ready", within=30)
    port = port_of(pool)
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), 5) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.0 200 OK"
    assert stop(pool) == 0


# --- workers as processes --------------------------------------------------------------------


def test_each_worker_leads_a_process_group_of_its_own(srvinit: Start) -> None:
    pool = start_talk(srvinit, count=2)
    assert [os.getpgid(worker) for worker in pool.workers()] == pool.workers()
    assert stop(pool) == 0


def test_a_release_link_that_moved_is_followed_by_the_next_worker(
    srvinit: Start, tmp_path: Path
) -> None:
    """worker.cwd is $PWD as a path: a recycle after a deployment runs the new release."""
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "run").write_text(f"#!/bin/sh\necho {release}; exec sleep 1000\n")
        (tmp_path / release / "run").chmod(0o755)
    current = tmp_path / "current"
    current.symlink_to("one")
    environ = {"PWD": os.fspath(current)}
    pool = srvinit("-w1", QUICK, "--", "./run", pid1=True, cwd=current, environ=environ)
    pool.wait_output("one")
    current.unlink()
    current.symlink_to("two")
    pool.wait_event("srvinit.ready")
    pool.signal("HUP")
    pool.wait_output("two")
    pool.wait_event("recycle.finished")
    assert stop(pool) == 0


def test_worker_cwd_and_env_are_for_workers_alone(srvinit: Start, tmp_path: Path) -> None:
    script = "import os; print('runs', os.getcwd(), os.environ['COLOUR'], flush=True)"
    options = (f"--worker-cwd={tmp_path}", "--worker-env=COLOUR=green", "--restart-policy=never")
    command = [sys.executable, "-S", "-c", script]
    pool = srvinit(
        "-w1", *options, "--", *command, pid1=True, environ={"COLOUR": "red"}, cwd=WORKERS
    )
    assert pool.exit_status() == 0
    assert pool.output.decode() == f"runs {tmp_path} green\n"


def test_a_command_that_vanished_is_a_failed_new_worker(srvinit: Start, tmp_path: Path) -> None:
    """On a recycle a missing command ends nothing: the old worker stays, the reason is told."""
    command = tmp_path / "run"
    command.write_text("#!/bin/sh\nexec sleep 1000\n")
    command.chmod(0o755)
    pool = srvinit("-w1", QUICK, "--restart-delay=0", "--", str(command), pid1=True)
    pool.wait_event("srvinit.ready")
    old = pool.workers()
    command.unlink()
    pool.signal("HUP")
    failed = pool.wait_event("recycle.failed")
    assert str(command) in failed["last"]
    proc.wait_until(lambda: pool.workers() == old, 5, "the old worker alone to be left")
    assert stop(pool) == 0


def test_sockets_come_in_the_order_of_bind(srvinit: Start) -> None:
    names = ("main", "admin")
    binds = [f"--bind={name}=127.0.0.1:0" for name in names]
    pool = start_talk(srvinit, *binds, words=("say=LISTEN_FDNAMES",))
    assert pool.wait_output("said").split()[1] == f"LISTEN_FDNAMES={':'.join(names)}"
    assert [event["fd"] for event in pool.found("socket.bound")] == [3, 4]
    assert [event["name"] for event in pool.found("socket.bound")] == list(names)
    assert stop(pool) == 0
