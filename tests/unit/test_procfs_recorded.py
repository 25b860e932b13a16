"""The readers of /proc, on recorded text and on what other kernels write: recorded/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from srvinit.kernel import procfs

RECORDED = Path(__file__).parent / "recorded" / "proc"
SHARED_FD = 3
SHARED_INODE = 309380
X86 = procfs.CALLS["x86_64"]
ARM = procfs.CALLS["aarch64"]


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def memory(name: str) -> bytes:
    return bytes.fromhex((RECORDED / name).read_text())


@pytest.mark.parametrize(
    ("name", "kind"), [("accept", "accept"), ("poll", "poll"), ("select", "select")]
)
def test_a_blocked_call_is_known_by_its_number(name: str, kind: str) -> None:
    blocked = procfs.parse_blocked(recorded(f"{name}.syscall"))
    assert blocked is not None
    assert X86[blocked.number] == kind
    assert len(blocked.arguments) == 6


@pytest.mark.parametrize("name", ["epoll", "sleep"])
def test_calls_whose_arguments_name_no_socket_are_not_looked_into(name: str) -> None:
    blocked = procfs.parse_blocked(recorded(f"{name}.syscall"))
    assert blocked is not None
    assert blocked.number not in X86


@pytest.mark.parametrize("name", ["running", "ended"])
def test_a_thread_in_no_call_is_blocked_in_none(name: str) -> None:
    assert procfs.parse_blocked(recorded(f"{name}.syscall")) is None


def test_the_arguments_of_accept_name_the_socket() -> None:
    blocked = procfs.parse_blocked(recorded("accept.syscall"))
    assert blocked is not None
    assert blocked.arguments[0] == SHARED_FD


def test_a_pollfd_array_names_what_is_read_not_what_is_written() -> None:
    blocked = procfs.parse_blocked(recorded("poll.syscall"))
    assert blocked is not None
    assert blocked.arguments[1] * procfs.POLLFD_BYTES == len(memory("poll.pollfds"))
    assert procfs.parse_pollfds(memory("poll.pollfds")) == {SHARED_FD}


def test_an_fd_set_names_its_members() -> None:
    assert procfs.parse_fd_set(memory("select.fd_set")) == {SHARED_FD, 4}
    assert procfs.parse_fd_set(b"\x01\x00\x80") == {0, 23}


def test_an_epoll_set_names_what_is_read_not_what_is_written() -> None:
    """The inode is hex; the last member is watched for room to write alone."""
    assert procfs.parse_epoll(recorded("epoll.fdinfo")) == [(3, SHARED_INODE), (4, 0x4B948)]


def test_an_epoll_set_of_a_kernel_before_4_13_names_fds_alone() -> None:
    text = b"pos:\t0\nflags:\t02\ntfd:        5 events:       19 data:                5\n"
    assert procfs.parse_epoll(text) == [(5, -1)]


@pytest.mark.parametrize("text", [b"", b"pos:\t0\nflags:\t02\nmnt_id:\t15\n"])
def test_a_platform_that_tells_no_members_gives_none(text: bytes) -> None:
    assert procfs.parse_epoll(text) == []


def test_stat_is_read_behind_any_name() -> None:
    assert procfs.parse_stat(recorded("accept.stat")).state == "S"
    odd = procfs.parse_stat(recorded("odd_name.stat"))
    text = recorded("odd_name.stat").rpartition(b") ")[2].split()
    assert (odd.parent_pid, odd.pgid) == (int(text[1]), int(text[2]))
    assert odd.parent_pid not in {0, 1}


def test_a_cut_pollfd_array_is_read_as_far_as_it_goes() -> None:
    assert procfs.parse_pollfds(memory("poll.pollfds") + b"\x05\x00") == {SHARED_FD}
    assert procfs.parse_pollfds(b"\xff\xff\xff\xff\x01\x00\x00\x00") == {-1}  # poll ignores it


def test_both_machines_know_every_kind_of_call() -> None:
    assert set(X86.values()) == set(ARM.values()) == {"accept", "poll", "select", "receive"}


def test_a_call_on_aarch64_is_known_by_its_number() -> None:
    """Written by hand after asm-generic/unistd.h: accept4 is 242, ppoll 73."""
    accept = procfs.parse_blocked(b"242 0x3 0x0 0x0 0x80000 0x0 0x0 0xffffe8d0 0xffff9a3c\n")
    poll = procfs.parse_blocked(b"73 0xffffd1a0 0x2 0x0 0x0 0x0 0x0 0xffffd0f0 0xffff8c1c\n")
    assert accept is not None
    assert poll is not None
    assert (ARM[accept.number], ARM[poll.number]) == ("accept", "poll")
