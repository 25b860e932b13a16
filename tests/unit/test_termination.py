"""The termination message: what `kubectl describe pod` shows of a container that failed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from srvinit.report import termination

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "termination-log"
    made.write_text("what an earlier container said, at some length")
    return made


def test_the_last_events_are_written_as_text(path: Path) -> None:
    assert termination.write(78, ["12:00:00 first", "12:00:01 last"], str(path))
    assert path.read_text() == "12:00:00 first\n12:00:01 last\n"


def test_the_file_is_written_in_place(path: Path) -> None:
    """It is a mount of its own: what replaces it is seen by nobody."""
    before = path.stat().st_ino
    termination.write(1, ["last"], str(path))
    assert path.stat().st_ino == before


def test_a_good_end_leaves_the_file_alone(path: Path) -> None:
    before = path.read_text()
    assert not termination.write(0, ["last"], str(path))
    assert path.read_text() == before


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Without Kubernetes nobody would read it, and it would be left on somebody's disk."""
    assert not termination.write(1, ["last"], str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_the_text_is_4096_bytes_at_most_and_ends_with_the_last_event(path: Path) -> None:
    sentences = [f"{number} {'é' * 100}" for number in range(64)]
    assert termination.write(1, sentences, str(path))
    text = path.read_bytes()
    assert 4096 - 210 < len(text) <= 4096
    assert text.decode().splitlines() == sentences[-len(text.splitlines()) :]


@pytest.mark.parametrize("char", ["x", "é", "\U0001f600"])
def test_one_endless_event_does_not_leave_the_file_empty(path: Path, char: str) -> None:
    assert termination.write(1, [char * 9999], str(path))
    assert 1000 < len(path.read_bytes()) <= 4096


def test_a_value_cannot_forge_a_line_or_steer_a_terminal(path: Path) -> None:
    assert termination.write(1, ["a\nb\x1b[2J\u2028\udc80"], str(path))
    assert path.read_text() == "a?b?[2J??\n"


@pytest.mark.parametrize("reader", [True, False])
def test_a_fifo_in_its_place_does_not_block(tmp_path: Path, *, reader: bool) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if reader else None
    assert not termination.write(1, ["last"], str(path))
    if fd is not None:
        os.close(fd)


def test_a_full_device_is_no_reason_to_fail() -> None:
    assert not termination.write(1, ["last"], "/dev/full")


def test_the_path_may_be_told_by_the_pod() -> None:
    """In bytes, as the environment is before anybody decodes it."""
    assert termination.path_from({}) == "/dev/termination-log"
    assert termination.path_from({b"TERMINATION_MESSAGE_PATH": b"/srv/why"}) == b"/srv/why"
    assert termination.path_from({b"TERMINATION_MESSAGE_PATH": b""}) == "/dev/termination-log"
