"""The writer against real pipes, sockets, terminals and devices; an alarm ends whatever blocks."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import pty
import resource
import select
import signal
import socket
import termios
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from srvinit.report import writer as module
from srvinit.report.writer import BACKLOG_BYTES, CHUNK_BYTES, LONGEST_PAUSE_S, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOCKED_S = 10
EXIT_BLOCKED = 99
NOBODY = 65534


def alarm(_number: int, _frame: Any) -> NoReturn:
    raise AssertionError("the writer blocked")


@pytest.fixture(autouse=True)
def _never_blocks() -> Iterator[None]:
    """Interrupt a system call that waits, and fail the test."""
    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(BLOCKED_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    yield from ends(*os.pipe())


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    yield from ends(*pty.openpty())


def ends(reader: int, fd: int) -> Iterator[tuple[int, int]]:
    yield reader, fd
    for end in (reader, fd):
        try:
            os.close(end)
        except OSError as error:  # the test closed it
            assert error.errno == errno.EBADF  # noqa: PT017  not what is under test


def line(number: int, size: int = 0) -> bytes:
    made = json.dumps({"n": number}).encode()
    return made + b" " * (size - len(made) - 1) + b"\n"


def gap(lines: int) -> bytes:
    return json.dumps({"dropped": lines}).encode() + b"\n"


def take(reader: int) -> list[dict[str, int]]:
    """Read all that is there now; each line must be whole JSON."""
    os.set_blocking(reader, False)
    text = b""
    try:
        while piece := os.read(reader, 65536):
            text += piece
    except BlockingIOError:
        pass
    assert not text or text.endswith(b"\n")
    return [json.loads(one) for one in text.splitlines()]


def numbers(taken: list[dict[str, int]]) -> list[int]:
    return [one["n"] for one in taken if "n" in one]


def fill(reader_or_fd: int) -> int:
    """Fill a descriptor through a description of its own, as a worker would through the shared."""
    own = os.open(f"/proc/self/fd/{reader_or_fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    sent = 0
    try:
        while True:
            sent += os.write(own, b" " * 4095 + b"\n")
    except BlockingIOError:
        return sent
    finally:
        os.close(own)


def in_child(deed: Callable[[], object]) -> None:
    """Do something that cannot be undone, in a process of its own; it must come back in time."""
    pid = os.fork()
    if pid == 0:
        status = 1
        signal.signal(signal.SIGALRM, lambda *_: os._exit(EXIT_BLOCKED))
        signal.alarm(BLOCKED_S - 1)
        try:
            deed()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) != EXIT_BLOCKED, "the writer blocked"
    assert status == 0


# --- pipes ------------------------------------------------------------------------------------


def test_lines_arrive_in_order(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    writer = Writer(fd, gap)
    for number in range(5):
        writer.write(line(number))
    assert numbers(take(reader)) == [0, 1, 2, 3, 4]
    assert writer.retry_in() is None


def test_a_full_pipe_keeps_lines_waiting_until_there_is_room(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    fill(fd)
    writer = Writer(fd, gap)
    writer.write(line(1))
    writer.write(line(2))
    assert writer.backlog

    os.read(reader, 1 << 20)
    writer.flush()

    assert numbers(take(reader)) == [1, 2]
    assert not writer.backlog
    assert writer.lost == 0


def test_the_pause_between_tries_grows_and_ends_with_the_backlog(pipe: tuple[int, int]) -> None:
    """An idle srvinit is never woken; one with a stalled reader once a second at most."""
    reader, fd = pipe
    fill(fd)
    writer = Writer(fd, gap)
    assert writer.retry_in() is None
    writer.write(line(1))
    first = writer.retry_in()
    assert first is not None
    assert 0 < first <= module.FIRST_PAUSE_S
    time.sleep(first)  # the pause itself is under test
    writer.flush()
    second = writer.retry_in()
    assert second is not None
    assert module.FIRST_PAUSE_S < second <= 2 * module.FIRST_PAUSE_S < LONGEST_PAUSE_S
    os.read(reader, 1 << 20)
    writer.flush()
    assert writer.retry_in() is None


def test_a_new_line_does_not_put_the_next_try_off(pipe: tuple[int, int]) -> None:
    _reader, fd = pipe
    fill(fd)
    writer = Writer(fd, gap)
    writer.write(line(1))
    first = writer.retry_in()
    writer.write(line(2))
    second = writer.retry_in()
    assert first is not None
    assert second is not None
    assert second <= first


def test_an_unread_pipe_costs_counted_lines_and_keeps_the_first_and_the_last(
    pipe: tuple[int, int],
) -> None:
    """Whoever reads at last finds whole lines, how it began, how it ended, and one gap between."""
    reader, fd = pipe
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)
    writer = Writer(fd, gap)
    for number in range(1500):
        writer.write(line(number, 300))
    assert writer.lost
    writer.close()

    taken = take(reader)
    gaps = [one["dropped"] for one in taken if "dropped" in one]
    assert gaps == [writer.lost]
    assert len(numbers(taken)) + writer.lost == 1500
    assert numbers(taken)[:100] == list(range(100))
    assert numbers(taken)[-1] == 1499
    assert numbers(taken) == sorted(numbers(taken))


def test_the_backlog_is_bounded(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    fill(fd)
    writer = Writer(fd, gap)
    for number in range(3000):
        writer.write(line(number, 1000))
    os.read(reader, 1 << 20)
    writer.flush()
    kept = len(take(reader)) * 1000
    while writer.backlog:
        writer.flush()
        kept += len(take(reader)) * 1000
    assert kept <= BACKLOG_BYTES + 1000


def test_the_gap_is_told_once_a_slow_reader_makes_room(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    fill(fd)
    writer = Writer(fd, gap)
    for number in range(500):
        writer.write(line(number, 300))
    os.read(reader, 1 << 20)
    writer.flush()
    taken = take(reader)
    while writer.backlog:
        writer.flush()
        taken += take(reader)
    writer.write(line(500))
    taken += take(reader)
    assert [one for one in taken if "dropped" in one] == [{"dropped": writer.lost}]
    assert numbers(taken)[-1] == 500


def test_a_closed_reader_costs_the_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, fd = pipe
    os.close(reader)
    writer = Writer(fd, gap)
    for number in range(10):
        writer.write(line(number))
    assert writer.lost == 10
    assert writer.retry_in() is None


def test_a_new_reader_of_a_fifo_is_told_what_it_missed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fd = os.open(path, os.O_WRONLY)
    writer = Writer(fd, gap)
    os.close(first)
    writer.write(line(1))
    second = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer.write(line(2))
    assert take(second) == [{"dropped": 1}, {"n": 2}]
    os.close(second)
    os.close(fd)


def test_lines_stay_whole_beside_a_worker_that_writes_to_the_same_pipe(
    pipe: tuple[int, int],
) -> None:
    """A chunk is moved in one piece, between two writes of others and never within one."""
    reader, fd = pipe
    count, ours_from = 400, 10_000
    fill(fd)
    pid = os.fork()
    if pid == 0:
        for number in range(count):
            os.write(fd, line(number, 100 + number * 7 % 3900))
        os._exit(0)
    writer = Writer(fd, gap)
    text = bytearray()
    for number in range(4 * count):
        writer.write(line(ours_from + number, 60 + number * 13 % 2000))
        text += os.read(reader, 997)  # less than is written: the pipe is full most of the time
    os.close(fd)  # the worker has the only other copy
    while piece := os.read(reader, 65536):
        text += piece
    os.waitpid(pid, 0)

    read = numbers([json.loads(one) for one in text.splitlines() if one.strip()])
    assert [number for number in read if number < count] == list(range(count))
    ours = [number for number in read if number >= ours_from]
    assert ours == sorted(ours)
    assert len(ours) > count


def test_a_sandbox_without_splice_falls_back_to_asking_for_room(pipe: tuple[int, int]) -> None:
    reader, fd = pipe

    def without_splice() -> None:
        refuse_splice()
        writer = Writer(fd, gap)
        for number in range(300):
            writer.write(line(number, 1000))
        assert writer.backlog

    in_child(without_splice)
    taken = numbers(take(reader))
    assert taken == list(range(len(taken)))
    assert len(taken) > 16


def refuse_splice() -> None:
    """Have the kernel answer ENOSYS to splice(2) from here on: seccomp(2)."""
    number = {"x86_64": 275, "aarch64": 76}.get(platform.machine())
    if number is None:
        return  # the way with splice is as good for what the test wants to see
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.ENOSYS),
             (0x06, 0, 0, 0x7FFF0000)]  # fmt: skip
    text = b"".join(
        code.to_bytes(2, "little") + bytes([true, false]) + value.to_bytes(4, "little")
        for code, true, false, value in steps
    )
    held = ctypes.create_string_buffer(text)
    program = len(steps).to_bytes(8, "little") + ctypes.addressof(held).to_bytes(8, "little")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0
    with pytest.raises(OSError, match="implemented"):
        os.splice(0, 1, 1)


def test_out_of_descriptors_lines_wait_for_one(pipe: tuple[int, int]) -> None:
    reader, fd = pipe

    def at_the_limit() -> None:
        writer = Writer(fd, gap)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1, hard))
        writer.write(line(1))
        assert writer.retry_in() is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        writer.flush()

    in_child(at_the_limit)
    assert numbers(take(reader)) == [1]


# --- sockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_a_full_socket_keeps_lines_waiting(kind: socket.SocketKind) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        writer = Writer(ours.fileno(), gap)
        sent = 0
        while not writer.backlog:
            writer.write(line(sent, 1000))
            sent += 1
        taken: list[dict[str, int]] = []
        while writer.backlog:
            taken += take(theirs.fileno())
            writer.flush()
        taken += take(theirs.fileno())
        writer.close()
        assert numbers(taken) == list(range(sent))


def test_a_line_that_tcp_took_in_part_is_completed_before_the_next() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        writer = Writer(ours.fileno(), gap)
        sent = 0
        while writer.lost < 10:
            writer.write(line(sent, 3333))
            sent += 1
        text = b""
        while writer.backlog:
            select.select([theirs], [], [], 1)
            text += theirs.recv(777)
            writer.flush()
        writer.write(line(sent))
        writer.close()
        ours.close()
        while piece := theirs.recv(65536):
            text += piece
        taken = [json.loads(one) for one in text.splitlines()]
        assert sum(one.get("dropped", 0) for one in taken) == writer.lost
        assert len(numbers(taken)) + writer.lost == sent + 1


def test_a_closed_peer_costs_the_lines_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        writer = Writer(ours.fileno(), gap)
        writer.write(line(1))
        assert writer.lost == 1
        assert writer.retry_in() is None
        writer.close()


# --- terminals --------------------------------------------------------------------------------


def test_a_terminal_nobody_reads_keeps_lines_waiting(terminal: tuple[int, int]) -> None:
    reader, fd = terminal
    writer = Writer(fd, gap)
    sent = 0
    while not writer.backlog:
        writer.write(line(sent, 700))
        sent += 1
    assert numbers(drain_terminal(reader, writer)) == list(range(sent))


def test_a_terminal_stopped_with_ctrl_s_keeps_lines_waiting(terminal: tuple[int, int]) -> None:
    reader, fd = terminal
    termios.tcflow(fd, termios.TCOOFF)
    writer = Writer(fd, gap)
    writer.write(line(1))
    assert writer.retry_in() is not None
    termios.tcflow(fd, termios.TCOON)
    assert numbers(drain_terminal(reader, writer)) == [1]


def test_another_users_terminal_does_not_block_either(terminal: tuple[int, int]) -> None:
    """It cannot be opened anew, as after su(1)."""
    reader, fd = terminal
    if os.getuid():
        pytest.skip("only root can become somebody else")
    os.fchmod(fd, 0o600)

    def as_nobody() -> None:
        os.setuid(NOBODY)
        writer = Writer(fd, gap)
        for number in range(500):
            writer.write(line(number, 100 + number * 37 % 900))
        assert writer.backlog
        assert writer.lost

    in_child(as_nobody)
    text = drain(reader)
    taken = [json.loads(one) for one in text.split(b"\r\n")[:-1]]
    assert numbers(taken) == list(range(len(taken)))
    assert taken


def test_another_users_stopped_terminal_does_not_block_either(terminal: tuple[int, int]) -> None:
    _reader, fd = terminal
    if os.getuid():
        pytest.skip("only root can become somebody else")
    os.fchmod(fd, 0o600)
    termios.tcflow(fd, termios.TCOOFF)

    def as_nobody() -> None:
        os.setuid(NOBODY)
        writer = Writer(fd, gap)
        writer.write(line(1))
        assert writer.backlog

    in_child(as_nobody)


def test_a_terminal_that_went_away_costs_the_lines_and_nothing_else(
    terminal: tuple[int, int],
) -> None:
    reader, fd = terminal
    writer = Writer(fd, gap)
    os.close(reader)
    writer.write(line(1))
    assert writer.lost == 1
    assert writer.retry_in() is None


def drain_terminal(reader: int, writer: Writer) -> list[dict[str, int]]:
    text = drain(reader)
    while writer.backlog:
        writer.flush()
        text += drain(reader)
    text += drain(reader)
    return [json.loads(one) for one in text.splitlines()]


def drain(reader: int) -> bytes:
    """Read a terminal until nothing comes; the kernel hands it over a moment later."""
    text = b""
    while select.select([reader], [], [], 0.05)[0]:
        text += os.read(reader, 65536)
    return text


# --- files and devices ------------------------------------------------------------------------


def test_a_full_device_costs_the_lines_and_nothing_else() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = Writer(fd, gap)
    for number in range(3):
        writer.write(line(number))
    assert writer.lost == 3
    assert writer.retry_in() is None
    os.close(fd)


def test_a_file_is_neither_truncated_nor_overwritten(tmp_path: Path) -> None:
    """Workers write through the same description, and so at the same offset."""
    path = tmp_path / "log"
    path.write_bytes(b'{"n": 0}\n')
    fd = os.open(path, os.O_WRONLY)
    os.lseek(fd, 0, os.SEEK_END)
    worker = os.dup(fd)
    writer = Writer(fd, gap)
    writer.write(line(1))
    os.write(worker, line(2))
    writer.write(line(3))
    assert numbers([json.loads(one) for one in path.read_text().splitlines()]) == [0, 1, 2, 3]
    os.close(worker)
    os.close(fd)


def test_a_line_cut_by_a_full_disk_is_completed_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)

    def at_the_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
        writer = Writer(fd, gap)
        writer.write(line(1, 100))
        writer.write(line(2, 100))
        writer.write(line(3, 100))
        assert writer.lost == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        writer.write(line(4, 100))

    in_child(at_the_limit)
    taken = [json.loads(one) for one in path.read_text().splitlines()]
    assert taken == [{"n": 1}, {"n": 2}, {"dropped": 1}, {"n": 4}]
    os.close(fd)


def test_a_closed_descriptor_is_never_tried_again(pipe: tuple[int, int]) -> None:
    """Its number may be a worker's socket by then."""
    reader, fd = pipe
    number = os.dup(os.open("/dev/null", os.O_WRONLY))
    os.close(number)
    late = Writer(number, gap)
    os.dup2(fd, number)
    early = Writer(number, gap)
    os.close(number)
    early.write(line(1))
    os.dup2(fd, number)
    late.write(line(2))
    early.write(line(3))
    assert (late.lost, early.lost) == (1, 2)
    assert take(reader) == []
    os.close(number)


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "file"])
def test_no_flag_of_the_shared_description_changes(kind: str, tmp_path: Path) -> None:
    """O_NONBLOCK on it would make the workers' own writes fail."""
    reader, fd = open_kind(kind, tmp_path)
    before = fcntl.fcntl(fd, fcntl.F_GETFL)
    writer = Writer(fd, gap)
    for number in range(1000):
        writer.write(line(number, 500))
    writer.close()
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == before
    assert not before & os.O_NONBLOCK
    for end in (reader, fd):
        os.close(end)


def open_kind(kind: str, folder: Path) -> tuple[int, int]:
    if kind == "pipe":
        return os.pipe()
    if kind == "terminal":
        return pty.openpty()
    if kind == "socket":
        ours, theirs = socket.socketpair()
        return theirs.detach(), ours.detach()
    path = folder / "log"
    return os.open(path, os.O_RDONLY | os.O_CREAT), os.open(path, os.O_WRONLY)


def test_lines_that_waited_go_out_together(pipe: tuple[int, int]) -> None:
    """Each splice takes a slot of the pipe, which has sixteen."""
    reader, fd = pipe
    writer = Writer(fd, gap)
    count = 0
    while not writer.backlog:
        writer.write(line(count))
        count += 1
    for _ in range(100):
        writer.write(line(count))
        count += 1
    os.read(reader, CHUNK_BYTES)  # frees all slots: each held one short line
    writer.flush()
    assert not writer.backlog
    assert count > 100
