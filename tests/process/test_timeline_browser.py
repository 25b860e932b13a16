"""The picture of a log in a real browser: what is seen, what the keyboard reaches, what is safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Browser

from srvinit.report.timeline import command

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = Path(__file__).parents[1] / "unit/recorded/timeline"
BARS = """
[...document.querySelectorAll('.life')].map(life => {
  const place = life.querySelector('.s').getBoundingClientRect();
  const all = [...life.querySelectorAll('.s')].map(one => one.getBoundingClientRect());
  return {...life.dataset, left: place.left, top: place.top,
          right: Math.max(...all.map(one => one.right)), bottom: place.bottom};
})
"""
HOSTILE = "</title><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\"'`&<!--"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as made:
        yield made


def page_of(log: Path, to: Path, suffix: str = ".html") -> Path:
    page = to / f"{log.stem}{suffix}"
    assert command.main(["-o", str(page), str(log)]) == 0
    return page


def requests_of(browser: Browser) -> list[str]:
    sent = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


def complaints_of(browser: Browser) -> list[Any]:
    kinds = {"Log.entryAdded", "Runtime.exceptionThrown"}
    return [event["params"] for event in browser.events if event["method"] in kinds]


def test_each_worker_of_the_log_is_a_bar_where_it_belongs(browser: Browser, tmp_path: Path) -> None:
    log = RECORDED / "story.log"
    told = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
    started = {event["pid"]: event for event in told if event["event"] == "worker.started"}
    ended = {event["pid"]: event for event in told if event["event"] == "worker.exited"}

    browser.look()
    browser.open(page_of(log, tmp_path))
    bars = browser.run(BARS)

    assert {int(bar["pid"]) for bar in bars} == set(started)
    for bar in bars:
        event = started[int(bar["pid"])]
        assert (int(bar["slot"]), int(bar["generation"])) == (event["slot"], event["generation"])
    by_start = [
        started[int(bar["pid"])]["timestamp"] for bar in sorted(bars, key=lambda b: b["left"])
    ]
    assert by_start == sorted(by_start), "who started earlier is further left"
    # one second is as wide for each: the width of a bar is how long its worker lived
    lived = {int(bar["pid"]): ended[int(bar["pid"])]["lived_s"] for bar in bars}
    longest = max(bars, key=lambda bar: lived[int(bar["pid"])])
    second = (longest["right"] - longest["left"]) / lived[int(longest["pid"])]
    for bar in bars:
        assert bar["right"] - bar["left"] == pytest.approx(lived[int(bar["pid"])] * second, abs=2.5)
    for one in bars:
        for other in bars:
            if one["pid"] != other["pid"]:
                apart = one["right"] <= other["left"] + 0.5 or other["right"] <= one["left"] + 0.5
                assert apart or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]


def test_states_ends_and_marks_are_those_of_the_log(browser: Browser, tmp_path: Path) -> None:
    browser.look()
    browser.open(page_of(RECORDED / "story.log", tmp_path))
    bars = browser.run(BARS)

    ends = sorted(bar["end"] for bar in bars)
    assert ends == ["crashed"] * 4 + ["stopped"] * 8
    steered = "starting ready quiescing stopping"
    assert sorted(bar["states"] for bar in bars if bar["end"] == "stopped") == (
        [steered] * 7 + [f"{steered} killing"]
    )
    count = "document.querySelectorAll('{}').length"
    assert browser.run(count.format(".life .kill")) == 1
    assert browser.run(count.format(".life .crash")) == 4
    labels = browser.run("[...document.querySelectorAll('.mark')].map(one => one.dataset.label)")
    assert labels == ["start", "HUP", "HUP", "TERM", "exit 124"]
    kinds = browser.run("[...document.querySelectorAll('.span')].map(one => one.dataset.kind)")
    assert kinds == ["recycle", "failed", "drain", "stop", "margin"]
    exit_x, deadline = browser.run(
        "['.mark.end .line', '.deadline']"
        ".map(one => document.querySelector(one).getBoundingClientRect().right)"
    )
    assert exit_x == pytest.approx(deadline, abs=4), "killed when the time to stop was over"


def test_two_pods_have_one_axis(browser: Browser, tmp_path: Path) -> None:
    browser.look()
    browser.open(page_of(RECORDED / "pods.log", tmp_path))

    names = browser.run("[...document.querySelectorAll('.pod')].map(pod => pod.dataset.pod)")
    assert names == ["web-7d9f4b-abcde/web", "web-7d9f4b-fghij/web"]
    # both got SIGTERM in the same millisecond or two
    left, right = browser.run(
        "[...document.querySelectorAll('.mark[data-label=TERM] .line')]"
        ".map(line => line.getBoundingClientRect().left)"
    )
    assert left == pytest.approx(right, abs=6)


@pytest.mark.parametrize("name", ["story", "kill", "pods", "crashes"])
def test_the_page_is_whole_alone_and_without_complaint(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    """Nothing is loaded, and its own policy (the hashes of style.py) lets style and script in."""
    page = page_of(RECORDED / f"{name}.log", tmp_path)

    browser.look()
    browser.open(page)

    assert requests_of(browser) == [page.as_uri()]
    assert complaints_of(browser) == []
    assert browser.run("getComputedStyle(document.querySelector('.name')).fontWeight") == "600"
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_reaches_each_bar_and_is_told_what_it_is(
    browser: Browser, tmp_path: Path
) -> None:
    browser.look()
    browser.open(page_of(RECORDED / "crashes.log", tmp_path))
    reached = []
    total = browser.run("document.querySelectorAll('svg [tabindex]').length")

    for _ in range(total):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.dataset.pid || ''"))
        said, shown = browser.run(
            "[document.activeElement.querySelector('title').textContent,"
            " tip.hidden ? '' : tip.textContent]"
        )
        assert shown == said
    pids = browser.run("[...document.querySelectorAll('.life')].map(one => one.dataset.pid)")
    assert len(pids) == 4
    assert set(pids) <= set(reached)

    browser.press("ArrowLeft")
    assert browser.run("document.activeElement.matches('svg [tabindex]')")
    browser.press("Escape")
    assert browser.run("document.getElementById('tip').hidden")


LIGHT, DARK = "rgb(255, 255, 255)", "rgb(13, 17, 23)"


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_it_is_light_dark_and_on_paper_light(browser: Browser, tmp_path: Path, suffix: str) -> None:
    browser.open(page_of(RECORDED / "story.log", tmp_path, suffix))
    paper = "getComputedStyle(document.querySelector('.paper')).fill"
    ink = "getComputedStyle(document.querySelector('.name')).fill"

    browser.look()
    light = [browser.run(paper), browser.run(ink)]
    browser.look(dark=True)
    dark = [browser.run(paper), browser.run(ink)]
    browser.look(dark=True, paper=True)
    printed = [browser.run(paper), browser.run(ink)]

    assert light[0] == LIGHT
    assert dark[0] == DARK
    assert printed == light
    assert dark[1] != light[1]


def test_what_a_worker_says_is_never_markup(browser: Browser, tmp_path: Path) -> None:
    """Every text of the log is replaced by one that would run, were it ever taken for markup."""
    log = tmp_path / "hostile.log"
    lines = []
    for line in (RECORDED / "story.log").read_text().splitlines():
        if line[:1] == "{":
            event = json.loads(line)
            kept = {"timestamp", "event", "level"}
            for key, value in event.items():
                if isinstance(value, str) and key not in kept:
                    event[key] = HOSTILE + value
            lines += [json.dumps(event), HOSTILE]
    log.write_text("\n".join(lines))

    browser.look()
    browser.open(page_of(log, tmp_path))

    assert browser.run("window.hit") is None
    assert browser.run("document.querySelectorAll('script').length") == 1
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert len(browser.run(BARS)) == 12
    assert browser.run("document.querySelector('.life title').textContent").count("<script>") > 0
    assert complaints_of(browser) == []
