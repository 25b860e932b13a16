"""Steered mode and the sockets there may be: several, IPv6, Unix, changed ones, and none."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from load import Load
from scenes import LISTEN, QUICK, anybodys, as_root, names, port_of, python, rounds, stop
from steered import serving

if TYPE_CHECKING:
    from harness import Srvinit
    from scenes import Start

STEERED = "--bind-mode=steered"
BARE = python("bare.py")
HELLO = b"GET / HTTP/1.0\r\n\r\n"
APP = Path(__file__).parent / "apps" / "counting.py"


def start(srvinit: Start, *arguments: str, command: list[str] = BARE, **how: object) -> Srvinit:
    """Start a steered pool of bare servers, with the binds in the arguments."""
    how.setdefault("pid1", True)
    pool = srvinit(STEERED, *LISTEN, QUICK, *arguments, "--", *command, **how)
    pool.wait_event("srvinit.ready", within=30)
    return pool


def ports(pool: Srvinit) -> list[int]:
    """Return the ports of the TCP sockets, in the order of fds."""
    found = [event["address"].rpartition(":")[2] for event in pool.found("socket.bound")]
    return [int(port) for port in found if port.isdigit()]


def ask(family: int, address: object, times: int = 1) -> Counter[int]:
    """Return who answers."""
    counted: Counter[int] = Counter()
    for _ in range(times):
        with socket.socket(family) as client:
            client.settimeout(20)
            client.connect(address)
            client.sendall(HELLO)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        counted[int(answer.rpartition(b"\r\n\r\n")[2])] += 1
    return counted


def recycle_under_load(pool: Srvinit, address: int | str, turns: int = 2) -> None:
    """Recycle; nobody may notice."""
    with Load(address, new=8, kept=0, rate=300) as load:
        load.wait_requests(30)
        for _ in range(turns):
            seen = len(pool.events)
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=30, since=seen)
        load.wait_requests(30)
        figures = load.stop()
    assert figures["losses"] == []


def finish(pool: Srvinit) -> None:
    """Stop it: well, and without a word about the kernel being other than thought."""
    assert stop(pool) == 0
    wrong = {"socket.order_lost", "socket.door_open", "kernel.refused", "worker.killed"}
    assert wrong & set(names(pool)) == set()


# --- which sockets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "targets"),
    [
        ("[::1]:0", [(socket.AF_INET6, "::1")]),
        (":0", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]),
    ],
)
def test_ipv6_alone_and_both_in_one_are_steered(
    srvinit: Start, bind: str, targets: list[tuple[int, str]]
) -> None:
    pool = start(srvinit, "-w3", f"--bind={bind}")
    for turn in range(2):
        for family, host in targets:
            assert len(ask(family, (host, port_of(pool)), 60)) == 3
        pool.signal("HUP")
        pool.wait_event("recycle.finished", within=30, nth=turn + 1)
    finish(pool)


@pytest.mark.parametrize("bind", ["[::1]:0", ":0"])
def test_over_ipv6_nothing_is_lost_either(srvinit: Start, bind: str) -> None:
    """Recycles, scaling and a shutdown; of each crash what had been accepted: one request."""
    pool = start(srvinit, "-w2", f"--bind={bind}", "--restart-delay=50ms", "--restart-limit=0")
    address = f"[::1]:{port_of(pool)}"
    turns = rounds(2, 10)
    recycle_under_load(pool, address, turns)
    with Load(address, new=8, kept=0, rate=300) as load:
        load.wait_requests(30)
        for _ in range(turns):
            seen = len(pool.events)
            os.kill(pool.outside(serving(pool)[0]["pid"]), signal.SIGKILL)
            pool.wait_event("worker.ready", within=20, since=seen)
            pool.signal("TTIN")
            pool.wait_event("worker.ready", within=20, since=seen, nth=2)
            pool.signal("TTOU")
            pool.wait_event("worker.exited", within=20, since=seen, nth=2)
        load.wait_requests(30)
        load.phase("shutdown")
        finish(pool)
        new = load.stop()["new"]
    assert new["reset"] + new["no_answer"] <= turns
    assert new["cut"] + new["timeout"] == 0


def test_several_addresses_are_all_recycled_without_loss(srvinit: Start) -> None:
    pool = start(srvinit, "-w2", "--bind=127.0.0.1:0", "--bind=127.0.0.1:0", "--bind=[::1]:0")
    first, second, third = ports(pool)
    with Load(second, new=4, kept=0, rate=150) as other:
        recycle_under_load(pool, first)
        assert len(ask(socket.AF_INET6, ("::1", third), 40)) == 2
        assert other.stop()["losses"] == []
    finish(pool)


def test_a_unix_socket_beside_stays_one_for_all(srvinit: Start, tmp_path: Path) -> None:
    """Its inode is the same everywhere; the TCP socket beside it is each worker's own."""
    path = tmp_path / "sock"
    pool = start(srvinit, "-w2", f"--bind=unix:{path}", "--bind=127.0.0.1:0")
    pool.wait_output("serves", nth=2)
    inodes = [line.split()[3:] for line in pool.output.decode().splitlines()]
    assert inodes[0][0] == inodes[1][0]
    assert inodes[0][1] != inodes[1][1]
    recycle_under_load(pool, ports(pool)[0])
    assert ask(socket.AF_UNIX, os.fspath(path)).total() == 1
    finish(pool)
    assert not path.exists()


def test_an_address_that_is_served_is_refused(srvinit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server:
        port = server.getsockname()[1]
        pool = srvinit(STEERED, f"--bind=127.0.0.1:{port}", "-w2", "--", *BARE, pid1=True)
        assert pool.exit_status() == 1
    assert pool.found("worker.started") == []
    assert str(port) in pool.found("socket.failed")[0]["error"]


def test_the_workers_of_a_library_call_have_sockets_of_their_own(srvinit: Start) -> None:
    port = harness.free_port()
    pool = srvinit("steered", run=[sys.executable, str(APP)], environ={"PORT": str(port)})
    pool.wait_event("srvinit.ready", workers=2)
    recycle_under_load(pool, port)
    slots = Counter(harness.ask(port).split()[0] for _ in range(40))
    assert len(slots) == 2
    assert len(pool.found("worker.quiescing")) == 4
    pool.signal("TERM")
    assert pool.exit_status() == 0


@as_root
def test_it_needs_no_privilege(srvinit: Start) -> None:
    command, bind = anybodys(BARE), "--bind=127.0.0.1:0"
    prefix = harness.as_user(harness.NOBODY)
    pool = start(srvinit, "-w2", bind, command=command, prefix=prefix, pid1=False, cwd="/")
    assert proc.status_field(pool.pid, "CapEff").strip("0") == ""
    recycle_under_load(pool, port_of(pool))
    finish(pool)


def test_with_as_many_descriptors_as_are_asked_for_all_goes_well_to_the_end(srvinit: Start) -> None:
    """One for each worker, and as many for the door, beside those that a shared socket needs."""
    few = ["prlimit", "--nofile=64"]
    options = ("--bind=127.0.0.1:0", "-w12", "--bind=[::1]:0")
    refused = srvinit(STEERED, *options, "--", "true", prefix=few)
    assert refused.exit_status() == 2
    (line,) = refused.strays
    needed = line.partition("need ")[2].partition(" ")[0]
    pool = start(srvinit, *options, prefix=["prlimit", f"--nofile={needed}"], pid1=False)
    finish(pool)
    enough_for_one_socket = srvinit(*options, "--", *python("web.py"), prefix=few)
    enough_for_one_socket.wait_event("srvinit.ready")


# --- settings that change ------------------------------------------------------------------------


def config(path: Path, *binds: str, mode: str = "steered") -> None:
    path.write_text(
        f"[bind]\nmode = '{mode}'\naddress = {list(binds)}\n"
        "[worker]\ncount = 2\nrequire = 'listen'\ntimeout = '30s'\n[recycle]\nsettle = '50ms'\n"
    )


def configured(srvinit: Start, path: Path) -> Srvinit:
    pool = srvinit(f"--config={path}", "--", *BARE, pid1=True)
    pool.wait_event("srvinit.ready", within=30)
    return pool


def test_addresses_may_come_and_go(srvinit: Start, tmp_path: Path) -> None:
    """What stays loses nobody; what comes is served, each worker by itself; what goes is closed."""
    file = tmp_path / "srvinit.toml"
    stays, goes, comes = (f"127.0.0.1:{harness.free_port()}" for _ in range(3))
    config(file, stays, goes)
    pool = configured(srvinit, file)
    config(file, comes, stays)
    recycle_under_load(pool, stays)
    assert [event["fd"] for event in pool.found("socket.bound", address=comes)] == [3]
    assert [event["address"] for event in pool.found("socket.closed")] == [goes]
    host, _, port = comes.rpartition(":")
    assert len(ask(socket.AF_INET, (host, int(port)), 40)) == 2
    host, _, port = goes.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    finish(pool)


def test_the_mode_does_not_change_while_it_runs(srvinit: Start, tmp_path: Path) -> None:
    """It is refused, with what to do; the recycle goes on with the settings of before."""
    file = tmp_path / "srvinit.toml"
    address = f"127.0.0.1:{harness.free_port()}"
    config(file, address)
    pool = configured(srvinit, file)
    config(file, address, mode="shared")
    recycle_under_load(pool, address, turns=1)
    (fault,) = pool.found("config.rejected")[0]["faults"]
    assert "bind.mode" in fault
    assert "start anew" in fault
    finish(pool)


# --- kernels that do not steer -------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_where_the_kernel_does_not_steer_it_is_said_once_and_all_serve(
    srvinit: Start, count: int
) -> None:
    """gVisor, say. One shared socket then: nobody quiesces, everything else is as ever."""
    prefix = python("refusing.py", "steering")
    pool = start(srvinit, f"-w{count}", "--bind=127.0.0.1:0", prefix=prefix)
    assert ask(socket.AF_INET, ("127.0.0.1", port_of(pool)), 5).total() == 5
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    assert ask(socket.AF_INET, ("127.0.0.1", port_of(pool)), 5).total() == 5
    (said,) = pool.found("socket.unsteered")
    assert said["level"] == "warning"
    assert pool.found("worker.quiescing") == []
    finish(pool)
