"""Log lines: true times, whole lines of bounded length, nothing forged, nothing raised."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import pty
import select
from typing import TYPE_CHECKING, Any

import pytest

from srvinit.report.log import KEPT_SENTENCES, QUEUED_EVENTS, Log
from srvinit.report.render import LINE_BYTES, Renderer

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTED = {"slot": 1, "generation": 2, "pid": 41, "why": "crash"}
NOON = 1_795_608_000.123456


class Output:
    """A pipe: what a log writes at one end, lines at the other."""

    def __init__(self) -> None:
        self.reader, self.fd = os.pipe()
        os.set_blocking(self.reader, False)

    def text(self) -> bytes:
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output()
    yield made
    os.close(made.reader)
    os.close(made.fd)


# --- before and after the start ---------------------------------------------------------------


def test_events_before_the_start_are_written_with_their_true_time(output: Output) -> None:
    log = Log(output.fd, "json")
    log.emit("worker.started", STARTED, NOON)
    assert output.text() == b""
    log.start()
    log.emit("worker.started", STARTED, NOON + 60)
    log.flush()
    times = [line["timestamp"] for line in output.lines()]
    assert times == ["2026-11-25T12:00:00.123456Z", "2026-11-25T12:01:00.123456Z"]


def test_the_queue_before_the_start_is_bounded_and_what_is_lost_is_told(output: Output) -> None:
    fcntl.fcntl(output.fd, fcntl.F_SETPIPE_SZ, 1 << 20)
    log = Log(output.fd, "json")
    for _ in range(QUEUED_EVENTS + 7):
        log.emit("manager.told", {"text": "x"}, level="info")
    assert log.dropped == 7
    log.start()
    log.emit("manager.told", {"text": "last"}, level="info")
    log.flush()
    told = [line["lines"] for line in output.lines() if line["event"] == "log.dropped"]
    kept = [line for line in output.lines() if line["event"] == "manager.told"]
    assert told == [7] or not kept


def test_close_writes_what_is_queued_although_nobody_started(output: Output) -> None:
    """An address that cannot be bound ends srvinit before its first worker."""
    log = Log(output.fd, "json")
    log.emit("socket.failed", {"address": ":80", "error": "EADDRINUSE"})
    log.close()
    assert [line["event"] for line in output.lines()] == ["socket.failed"]


# --- what a line looks like -------------------------------------------------------------------


def test_a_line_is_one_json_object_with_time_level_name_and_sentence_first() -> None:
    text = Renderer("json")("info", "worker.started", STARTED, NOON)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    assert list(json.loads(text).items()) == [
        ("timestamp", "2026-11-25T12:00:00.123456Z"),
        ("level", "info"),
        ("event", "worker.started"),
        ("message", "worker 1 (pid 41) started in generation 2 (crash)"),
        *STARTED.items(),
    ]


@pytest.mark.parametrize("at", [0.0, NOON, 1_795_607_999.9999996, 4_102_444_800.5])
def test_times_are_rfc_3339_in_utc_with_microseconds(at: float) -> None:
    shown = json.loads(Renderer("json")("info", "srvinit.ready", {}, at))["timestamp"]
    assert len(shown) == len("2026-11-25T12:00:00.123456Z")
    assert dt.datetime.fromisoformat(shown).timestamp() == pytest.approx(at, abs=1e-6)


def test_fields_that_are_null_are_there_and_the_catalogue_gives_the_order() -> None:
    fields = {"why": "w", "pid": 41, "generation": 2, "slot": 1}
    line = json.loads(Renderer("json")("warning", "worker.killed", fields, NOON))
    assert list(line)[4:] == ["slot", "generation", "pid", "why", "signal", "waited_s"]
    assert line["signal"] is None


def test_a_field_cannot_take_the_place_of_what_every_line_has() -> None:
    fields = {"level": "x", "event": "x", "message": "x", "timestamp": "x"}
    line = json.loads(Renderer("json")("info", "srvinit.ready", fields, NOON))
    assert line["event"] == "srvinit.ready"
    assert line["level"] == "info"


# --- levels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "seen"),
    [("debug", "deiw"), ("info", "eiw"), ("warning", "ew"), ("error", "e")],
)
def test_events_below_the_level_are_not_written(output: Output, level: str, seen: str) -> None:
    log = Log(output.fd, "json", level)
    log.emit("worker.settled", STARTED)
    log.start()
    log.emit("worker.started", STARTED)
    log.emit("worker.killed", STARTED)
    log.emit("worker.spawn_failed", STARTED)
    log.flush()
    assert "".join(sorted(line["level"][0] for line in output.lines())) == seen


def test_the_case_may_decide_the_level(output: Output) -> None:
    log = Log(output.fd, "json", "warning")
    log.start()
    log.emit("worker.exited", STARTED, level="info")
    log.emit("worker.exited", STARTED, level="warning")
    log.flush()
    assert [line["level"] for line in output.lines()] == ["warning"]


def test_level_and_form_may_change_while_it_runs(output: Output) -> None:
    log = Log(output.fd, "json", "info")
    log.start()
    log.configure("console", "debug")
    log.emit("worker.settled", STARTED, NOON)
    log.flush()
    assert output.text() == (
        b"12:00:00.123 debug   worker 1 (pid 41) stayed ready;"
        b" the stale worker in its slot may go\n"
    )


# --- nothing forged, nothing too long, nothing raised -----------------------------------------

EVIL = (
    '\n{"event": "forged"}\r\x00\x07\x1b[2J\x7f\x85\x9b'
    "\u200f\u2028\u2029\u202e\u2066\ufeff\udc80\ud800"
)
OBEYED = [char for char in EVIL if not char.isprintable()]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_can_forge_a_line_or_steer_a_terminal(form: str) -> None:
    fields = {"slot": 0, "generation": 0, "pid": 1, "text": EVIL, EVIL: EVIL}
    text = Renderer(form)("info", "worker.status", fields, NOON).decode()
    assert text.count("\n") == 1
    assert text.splitlines() == [text[:-1]]
    assert not [char for char in OBEYED if char in text[:-1]]


def test_json_gives_back_what_was_logged() -> None:
    fields = {"text": EVIL.removesuffix("\udc80\ud800") + 'é"\\'}
    assert (
        json.loads(Renderer("json")("info", "manager.told", fields, NOON))["text"]
        == (fields["text"])
    )


def test_bytes_that_are_no_utf_8_are_shown_as_bytes() -> None:
    path = os.fsdecode(b"/srv/caf\xe9")
    line = json.loads(Renderer("json")("info", "socket.replaced", {"address": path}, NOON))
    assert line["address"] == "/srv/caf\\xe9"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("char", ["x", "é", "\x00", "\u2028", "\U0001f600", "\udc80", '"'])
@pytest.mark.parametrize("length", [4000, 4096, 5000, 100_000])
def test_a_line_is_4096_bytes_at_most_and_says_what_is_missing(
    form: str, char: str, length: int
) -> None:
    fields = {"error": "ValueError", "traceback": char * length}
    text = Renderer(form)("error", "srvinit.fault", fields, NOON)
    assert len(text) <= LINE_BYTES
    assert len(text) > LINE_BYTES // 4
    if form == "json":
        line = json.loads(text)
        assert "…(+" in line["traceback"]
        assert line["message"] == "srvinit's own fault: ValueError"


def test_a_shortened_value_keeps_both_ends_and_counts_the_bytes_between() -> None:
    fields = {"error": "E", "traceback": "first" + "é" * 9000 + "last"}
    line = json.loads(Renderer("json")("error", "srvinit.fault", fields, NOON))
    before, rest = line["traceback"].split("…(+")
    gone, after = rest.split(" bytes)")
    assert before.startswith("first")
    assert after.endswith("last")
    assert len((before + after).encode()) + int(gone) == len(fields["traceback"].encode())


def test_long_arrays_many_fields_and_long_names_fit_as_well() -> None:
    render = Renderer("json")
    for event, fields in [
        ("config.rejected", {"faults": [f"fault {number} " + "x" * 90 for number in range(99)]}),
        ("shutdown.stuck", {"pids": list(range(100_000, 109_000))}),
        ("worker.started", {f"field {number}": "x" * 50 for number in range(500)}),
        ("worker.started", {"x" * 9000: 1}),
        ("x" * 9000, {}),
    ]:
        text = render("error", event, fields, NOON)
        assert len(text) <= LINE_BYTES
        assert list(json.loads(text))[:4] == ["timestamp", "level", "event", "message"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_whatever_is_logged_it_is_logged_and_never_raises(output: Output, form: str) -> None:
    log = Log(output.fd, form)
    log.start()
    log.emit("no.such", {"a": object, "b": {1: float("nan")}, "c": b"x", "d": {3}, "e": [None]})
    log.emit("worker.ready", {"after_s": float("inf"), "slot": [], "pid": {}})
    log.emit("worker.ready", {"after_s": -1.0}, level="no level")
    log.emit("worker.ready")
    log.emit("recycle.finished", {"replaced": "many"})
    log.flush()
    text = output.text()
    assert text.count(b"\n") == 5
    if form == "json":
        first = json.loads(text.splitlines()[0], parse_constant=pytest.fail)
        assert (first["level"], first["message"]) == ("error", "no.such")


# --- the console ------------------------------------------------------------------------------


def test_a_terminal_gets_plain_sentences_with_colour() -> None:
    reader, fd = pty.openpty()
    log = Log(fd)
    log.start()
    log.emit("worker.started", STARTED, NOON)
    log.emit("worker.killed", STARTED, NOON)
    log.flush()
    text = b""
    while text.count(b"\n") < 2:
        assert select.select([reader], [], [], 5)[0], "no line came"
        text += os.read(reader, 4096)
    assert text.decode().split("\r\n") == [
        "12:00:00.123 info    worker 1 (pid 41) started in generation 2 (crash)",
        "\x1b[33m12:00:00.123 warning killing the group of worker 1 (pid 41): crash\x1b[0m",
        "",
    ]
    log.close()
    os.close(reader)
    os.close(fd)


def test_console_without_a_terminal_has_no_colour_and_shows_a_traceback_below(
    output: Output,
) -> None:
    log = Log(output.fd, "console")
    log.start()
    log.emit("srvinit.fault", {"error": "E", "traceback": "File x\n  y\x1b\nE\n"}, NOON)
    log.flush()
    assert output.text().decode().splitlines() == [
        "12:00:00.123 error   srvinit's own fault: E",
        "    | File x",
        "    |   y\\u001b",
        "    | E",
    ]


# --- what is lost and what is kept -----------------------------------------------------------


def test_a_late_reader_sees_whole_lines_and_one_that_says_how_many_are_missing(
    output: Output,
) -> None:
    """500 crashes while nobody reads a pipe of one page, then the end."""
    fcntl.fcntl(output.fd, fcntl.F_SETPIPE_SZ, 4096)
    log = Log(output.fd, "json")
    log.start()
    for number in range(500):
        log.emit("worker.started", STARTED | {"pid": number})
        log.emit("worker.killed", STARTED | {"pid": number})
    log.emit("srvinit.exiting", {"status": 0, "reason": "SIGTERM", "uptime_s": 9.0})
    log.flush()
    assert log.backlog
    assert log.retry_in() is not None
    log.close()
    lines = output.lines()
    assert [line["lines"] for line in lines if line["event"] == "log.dropped"] == [log.dropped]
    assert len(lines) - 1 + log.dropped == 1001
    assert lines[0]["pid"] == 0
    assert lines[-1]["event"] == "srvinit.exiting"


def test_an_idle_log_never_asks_to_be_woken(output: Output) -> None:
    log = Log(output.fd, "json")
    assert log.retry_in() is None
    log.emit("worker.started", STARTED)
    log.flush()
    assert log.retry_in() is None
    log.start()
    assert log.retry_in() is None


def test_the_last_sentences_are_kept_for_the_termination_message(output: Output) -> None:
    """Whatever log.level is: the message is for whoever has no log."""
    log = Log(output.fd, "json", "error")
    for number in range(KEPT_SENTENCES + 5):
        log.emit("worker.started", STARTED | {"pid": number}, NOON)
        log.emit("worker.settled", STARTED)
    log.start()
    assert len(log.last) == KEPT_SENTENCES
    assert log.last[-1] == "12:00:00 worker 1 (pid 68) started in generation 2 (crash)"
