"""The report that compares srvinit with its rivals works: on gunicorn, which the tests have anyway.

It judges no figure. bench/report.py has the real run.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from dataclasses import replace
from pathlib import Path
from xml.parsers import expat

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import deploying
import drawing
import ending
import extent
import page
import reloaders
import reloading
import report

SERVER = (sys.executable, "-m", "gunicorn", "--log-level=warning")


@pytest.fixture
def two() -> list[reloaders.Rival]:
    """Return gunicorn and srvinit with gunicorn, both out of the venv of the tests."""
    known = {rival.key: rival for rival in reloaders.RIVALS}
    commands = {
        "srvinit-gunicorn": reloaders.srvinit(*SERVER, "app:wsgi", options=("--recycle-settle=0",)),
        "gunicorn": (*SERVER, "--workers=2", "--bind=127.0.0.1:{port}", "app:wsgi"),
    }
    return [replace(known[key], command=command) for key, command in commands.items()]


def test_a_reload_of_two_rivals_is_measured_and_written(
    two: list[reloaders.Rival], tmp_path: Path
) -> None:
    grid = reloading.measure(two, extent.QUICK)

    page.write(tmp_path, FAKE_MACHINE, extent.QUICK, [grid])

    assert [row[1] for row in grid.rows] == ["srvinit-gunicorn", "gunicorn"]
    for turns in grid.raw.values():
        assert turns[0]["requests"] > 0
        assert turns[0]["took_s"][0] is not None
        assert turns[0]["extra_mb"]
    raw = json.loads((tmp_path / "benchmarks.json").read_text())
    assert raw["results"]["reload"] == grid.raw
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| **srvinit-gunicorn** |" in text
    for picture in ("lost", "gap"):
        assert f"(benchmarks-{picture}.svg)" in text
        well_formed((tmp_path / f"benchmarks-{picture}.svg").read_text())


def test_a_release_that_does_not_start_leaves_srvinit_serving(two: list[reloaders.Rival]) -> None:
    ours = two[0]

    answer = deploying.one_case(ours, "exits", replace(extent.QUICK, observed_s=3.0))

    assert answer["lives"]
    assert answer["answered_at_the_end"] == answer["requests_at_the_end"] > 0
    assert deploying.verdict(answer).startswith("100.0 %")


def test_who_has_ended_is_told_from_who_serves_on() -> None:
    good = {
        "requests": 400,
        "answered": 400,
        "requests_at_the_end": 50,
        "answered_at_the_end": 50,
        "longest_gap_ms": 40.0,
        "lives": True,
    }

    assert deploying.verdict(good) == "100.0 %"
    assert deploying.verdict(good | {"longest_gap_ms": 3200.0}) == (
        "100.0 %; nobody answered for 3.2 s"
    )
    assert "nobody serves at the end" in deploying.verdict(good | {"answered_at_the_end": 0})
    assert "all processes gone" in deploying.verdict(good | {"lives": False})
    assert deploying.verdict(None) == "-"


def test_an_end_says_how_long_which_status_who_is_left_and_what_was_lost_in_which_way() -> None:
    nothing: dict[str, dict[str, int]] = {"new": {}, "kept": {}}
    lost = {"new": {"reset": 2, "refused": 30}, "kept": {"no_answer": 4, "status_5xx": 1}}
    over = {"took_s": 1.5, "status": 0, "survivors": 0, "lost": nothing}
    open_end = {"took_s": None, "status": None, "survivors": None, "lost": lost}
    ways = "(2 new reset, 4 kept no answer, 1 kept status 5xx)"

    assert ending.verdict([over], 20) == "1.50 s, status 0; lost 0"
    assert ending.verdict([open_end], 20) == f"not over after 20 s; lost 7 {ways}; 30 refused"
    assert ending.verdict([over, open_end], 20) == (
        f"1.50 s, status 0, 1 not over after 20 s; lost 0/7 {ways}; 30 refused"
    )
    assert "3 processes left" in ending.verdict([over | {"survivors": 3}], 20)


def test_what_a_load_had_lost_before_is_not_the_ends_doing() -> None:
    before = {"new": {"reset": 2}, "kept": {}}
    after = {"new": {"reset": 3, "cut": 1}, "kept": {"timeout": 1}}

    assert ending.since(before, after) == {"new": {"reset": 1, "cut": 1}, "kept": {"timeout": 1}}


def test_who_waits_is_answered_or_loses_its_request_in_one_of_these_ways() -> None:
    """One is answered, one told 503, one cut off, one reset, and one waits till the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with ending.Waiting(server.getsockname()[1], "/slow", 5) as clients:
            ours = [server.accept()[0] for _ in range(5)]
            for connection in ours:
                connection.recv(4096)
            ours[0].sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            ours[1].sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            ours[3].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for connection in ours[:4]:
                connection.close()
            lost = clients.finish()
        ours[4].close()

    assert lost == {"status_5xx": 1, "no_answer": 1, "reset": 1, "timeout": 1}


def test_medians_show_their_spread_and_nothing_that_was_not_measured() -> None:
    assert extent.median([3.0, 1.0, 2.0]) == "2.0 (1.0 .. 3.0)"
    assert extent.median([2.0, None]) == "2.0"
    assert extent.median([None]) == "-"


def test_the_page_says_what_the_raw_figures_say(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"

    report.rewrite(docs / "benchmarks.json", tmp_path)

    written = sorted(tmp_path.iterdir())
    assert [file.name for file in written] == sorted(file.name for file in docs.glob("benchmarks*"))
    for file in written:
        assert file.read_text() == (docs / file.name).read_text(), file.name


def test_a_picture_is_well_formed_whatever_stands_in_it() -> None:
    picture = drawing.bars("a < b & c", ["p"], [("srvinit", [1.0], "1 <"), ("none", [0.0], "0")])

    assert well_formed(picture) == "svg"
    assert "prefers-color-scheme: dark" in picture


def well_formed(picture: str) -> str:
    """Return the name of the outermost element; ExpatError if it is not XML."""
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _attributes: names.append(name)
    parser.Parse(picture, True)  # noqa: FBT003 -- expat's own signature
    return names[0]


FAKE_MACHINE = {
    "date": "2026-01-01",
    "cpus": 2,
    "model": "a machine",
    "memory_gib": 1,
    "linux": "6.1",
    "python": "3.11",
    "srvinit": "0.1",
    "load_before": 9.0,
    "load_after": 9.0,
    "nice": 0,
    "rivals": {},
    "left_out": ["circus"],
}
