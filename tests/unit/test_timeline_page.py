"""The picture: well formed whatever the log holds, of a size to be shown, made in a moment."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from srvinit.report.timeline import command, markup, page, style

RECORDED = Path(__file__).parent / "recorded/timeline"
SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[2]


def drawn(*logs: Path) -> ET.Element:
    return ET.fromstring(page.svg(command.pods_of([str(log) for log in logs])))  # noqa: S314  ours


def of_class(picture: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in picture.iter() if name in one.get("class", "").split()]


def test_the_hashes_of_the_policy_are_those_of_style_and_script() -> None:
    for text, said in ((style.STYLE, style.STYLE_SHA256), (style.SCRIPT, style.SCRIPT_SHA256)):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() == said


def test_the_page_holds_style_and_script_as_they_are_hashed() -> None:
    text = page.html(command.pods_of([str(RECORDED / "story.log")]))
    assert text.count(f"<style>{style.STYLE}</style>") == text.count("<style") == 1
    assert text.count(f"<script>{style.SCRIPT}</script>") == text.count("<script") == 1
    assert " style=" not in text, "the policy forbids it"


@pytest.mark.parametrize("name", ["story", "kill", "pods", "crashes"])
def test_a_real_log_is_drawn(name: str) -> None:
    picture = drawn(RECORDED / f"{name}.log")
    text = (RECORDED / f"{name}.log").read_text()
    lives = of_class(picture, "life") + of_class(picture, "crowd")
    count = sum(int(one.get("data-lives", "1")) for one in lives)
    assert count == text.count('"event": "worker.started"')
    for one in picture.iter():
        if one.get("tabindex"):
            assert one[0].tag == f"{SVG}title"
            assert one[0].text


def test_every_state_has_a_colour() -> None:
    from srvinit.report.timeline.story import STATES

    for state in STATES:
        assert f".{state}" in style.STYLE
    for kind in ("recycle", "failed", "abandoned", "running", "drain", "stop", "margin"):
        assert kind == "recycle" or f".band.{kind}" in style.STYLE


EVIL = "<script>alert(1)</script>&\"'`\0\x1b[2J\u202e\ud800\uffff]]>-->"


def test_no_text_becomes_markup() -> None:
    escaped = markup.escape(EVIL)
    assert not set(escaped) & set("<>\"'`\0\x1b\u202e\ud800\uffff")
    parsed = ET.fromstring(f'<a b="{escaped}">{escaped}</a>')  # noqa: S314  ours
    assert parsed.text == parsed.get("b")
    assert (parsed.text or "").startswith("<script>alert(1)</script>&\"'`")
    assert markup.escape("a\nb\tc") == "a\nb c"
    assert len(markup.escape("x" * 10**6)) < 1100


def test_a_log_full_of_evil_is_a_well_formed_picture(tmp_path: Path) -> None:
    log = tmp_path / "evil<b>.log"
    lines = []
    for line in (RECORDED / "story.log").read_text().splitlines():
        if line[:1] == "{":
            event = json.loads(line)
            for key, value in event.items():
                if isinstance(value, str) and key not in {"timestamp", "event"}:
                    event[key] = EVIL
                elif isinstance(value, list):
                    event[key] = [EVIL, {EVIL: EVIL}]
            lines.append(f"[pod/{EVIL[:8]}/x] " + json.dumps(event))
    log.write_text("\n".join(lines))

    picture = drawn(log)

    allowed = {"svg", "title", "style", "defs", "pattern", "rect", "path", "g", "text"}
    assert {one.tag.removeprefix(SVG) for one in picture.iter()} == allowed
    assert len(of_class(picture, "life")) == 12
    assert not any(key.startswith("on") for one in picture.iter() for key in one.keys())  # noqa: SIM118


def test_many_slots_are_drawn_low(tmp_path: Path) -> None:
    line = '{{"timestamp": "2026-11-25T00:00:{:02d}Z", "event": "worker.started", "slot": {}, '
    line += '"pid": {}, "generation": 1}}\n'
    log = tmp_path / "many.log"
    log.write_text("".join(line.format(slot % 60, slot, slot) for slot in range(1000)))
    assert float(drawn(log).get("height", "0")) < 6000


# --- the command ---------------------------------------------------------------------------------


def run(
    capfd: pytest.CaptureFixture[str], *arguments: str, stdin: bytes | None = None
) -> tuple[int, str, str]:
    kept = os.dup(0)
    reading, writing = os.pipe()
    os.write(writing, stdin or b"")
    os.close(writing)
    os.dup2(reading, 0)
    try:
        status = command.main(list(arguments))
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)
    said = capfd.readouterr()
    return status, said.out, said.err


@pytest.fixture
def log() -> str:
    return str(RECORDED / "crashes.log")


def test_a_page_goes_to_stdout_a_picture_where_it_is_asked_for(
    capfd: pytest.CaptureFixture[str], log: str, tmp_path: Path
) -> None:
    assert run(capfd, log)[1].startswith("<!doctype html>")
    assert run(capfd, "--svg", log)[1].startswith("<svg ")
    for name, begin in (("a.svg", "<svg "), ("a.html", "<!doctype")):
        assert run(capfd, "-o", str(tmp_path / name), log) == (0, "", "")
        assert (tmp_path / name).read_text().startswith(begin)


def test_a_log_may_come_over_stdin(capfd: pytest.CaptureFixture[str], log: str) -> None:
    text = Path(log).read_bytes()[:4000]
    assert run(capfd, stdin=text)[1] == run(capfd, "-", stdin=text)[1]


def test_several_files_are_several_pods(capfd: pytest.CaptureFixture[str]) -> None:
    logs = [str(RECORDED / f"{name}.log") for name in ("crashes", "kill")]
    picture = ET.fromstring(run(capfd, "--svg", *logs)[1])  # noqa: S314
    assert [pod.get("data-pod") for pod in of_class(picture, "pod")] == ["crashes.log", "kill.log"]


def test_files_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    logs = []
    for name in ("web-1", "web-2"):
        (tmp_path / name).mkdir()
        logs.append(tmp_path / name / "app.log")
        logs[-1].write_text((RECORDED / "crashes.log").read_text())
    assert [pod.get("data-pod") for pod in of_class(drawn(*logs), "pod")] == [*map(str, logs)]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--sgv"], 2, "--sgv: unknown option; expected --svg, -o FILE or LOG..."),
        (["-o"], 2, "-o: expected FILE after it"),
        (["/no/such.log"], 1, "/no/such.log: No such file or directory"),
        (["/"], 1, "/: Is a directory"),
        ([], 1, "no line of srvinit's log among the 2 of the standard input: expected JSON lines"),
        ([str(RECORDED / "crashes.log"), "-o", "/no/such/a.svg"], 1, "/no/such/a.svg: No such"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(
    capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    got, out, err = run(capfd, *arguments, stdin=b"hello\nworld\n")
    assert (got, out) == (status, "")
    assert err.startswith(f"srvinitctl timeline: {said}")
    assert err.count("\n") == 1


def test_bytes_that_are_no_text_are_no_fault(capfd: pytest.CaptureFixture[str], log: str) -> None:
    text = Path(log).read_bytes().replace(b"exit 3", b"exit \xff\xfe\0")
    assert run(capfd, "--svg", stdin=text)[0] == 0


def test_help_names_every_option(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "--help")
    assert (status, err) == (0, "")
    assert "--svg" in out
    assert "-o FILE" in out


def test_the_readmes_picture_is_that_of_the_code() -> None:
    command = [sys.executable, str(ROOT / "docs/generate_timeline.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
