"""recycle.watch, for real: what changes on the way to a file recycles, and nothing else does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import NOBODY, as_user
from scenes import QUICK, SLACK_S, anybodys, as_root, at, python, start_talk, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Srvinit
    from scenes import Start

QUIET_S = 1.0
POLL_S = 10.0


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Make a folder outside of pytest's own, whose mode each session sets: a change."""
    with tempfile.TemporaryDirectory(prefix="srvinit-test-") as folder:
        yield Path(folder)


def config_map(folder: Path, version: int, content: str) -> None:
    """Put a version of a ConfigMap in place as the kubelet does, and remove the one before."""
    data = folder / f"..2026_11_{version}"
    data.mkdir(parents=True)
    (data / "app.toml").write_text(content)
    before = (folder / "..data").resolve()
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "app.toml").is_symlink():
        (folder / "app.toml").symlink_to("..data/app.toml")
    elif before.is_dir():
        (before / "app.toml").unlink()
        before.rmdir()


def asked(pool: Srvinit, nth: int = 1, within: float = 10) -> dict[str, object]:
    """Wait until a change has recycled all; return the line that says of what."""
    line = pool.wait_event("recycle.asked", within=within, nth=nth)
    pool.wait_event("recycle.finished", within=20, nth=nth)
    return line


@contextlib.contextmanager
def mounted(kind: str, place: Path) -> Iterator[Path]:
    """Make a file system of this kind; return a folder of it."""
    mounts = []
    place.mkdir()
    if kind in {"tmpfs", "overlay"}:
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
        mounts.append(place)
    folder = place / "top"
    folder.mkdir()
    if kind == "overlay":
        lower, upper, work = (place / name for name in ("lower", "upper", "work"))
        for layer in (lower, upper, work):
            layer.mkdir()
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, folder], check=True)
        mounts.append(folder)
    try:
        yield folder
    finally:
        for point in reversed(mounts):
            subprocess.run(["umount", "--lazy", point], check=True)


@as_root
@pytest.mark.parametrize("kind", ["tmpfs", "overlay", "disk"])
def test_a_config_map_that_is_swapped_recycles_once(
    srvinit: Start, tmp_path: Path, kind: str
) -> None:
    """Again and again: the directories that were watched first are gone by then."""
    with mounted(kind, tmp_path / "place") as top:
        folder = top / "etc"
        config_map(folder, 1, "one")
        watched = f"--recycle-watch={folder}/app.toml"
        pool = start_talk(srvinit, watched, count=2)
        for turn in range(1, 4):
            config_map(folder, turn + 1, "one")
            assert asked(pool, turn)["paths"] == [f"{folder}/app.toml"]
        assert stop(pool) == 0
        started = pool.found("recycle.started")
        assert [(line["why"], line["workers"]) for line in started] == [("recycle.watch", 2)] * 3
        assert pool.found("watch.polled") == []


def test_a_file_is_followed_however_it_is_changed(srvinit: Start, tmp_path: Path) -> None:
    """By a rename over it (a certificate), in place, by touch; foreign files recycle nobody."""
    file, other = tmp_path / "tls.crt", tmp_path / "other"
    file.write_text("one")
    pool = start_talk(srvinit, f"--recycle-watch={file}")

    other.write_text("one")
    other.rename(tmp_path / "tls.key")
    time.sleep(1.5 * QUIET_S)  # longer than a change has to stay
    (tmp_path / "new").write_text("one")
    (tmp_path / "new").rename(file)
    asked(pool)
    file.write_text("two")
    asked(pool, 2)
    file.touch()
    asked(pool, 3)

    assert stop(pool) == 0
    assert len(pool.found("recycle.asked")) == 3, "the foreign one, which came first, was none"


def test_a_directory_is_watched_as_a_whole(srvinit: Start, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "one").write_text("1")
    (folder / "below").mkdir()
    pool = start_talk(srvinit, f"--recycle-watch={folder}")

    (folder / "below" / "cache").write_text("not asked for")
    time.sleep(1.5 * QUIET_S)
    (folder / "two").write_text("2")
    assert asked(pool)["paths"] == [str(folder)]
    (folder / "one").write_text("11")
    asked(pool, 2)
    (folder / "two").unlink()
    asked(pool, 3)
    folder.rename(tmp_path / "old")
    pool.wait_event("watch.missing", path=str(folder))
    folder.mkdir()
    asked(pool, 4)
    assert stop(pool) == 0
    assert len(pool.found("recycle.asked")) == 4


def test_what_is_written_in_pieces_is_waited_for(srvinit: Start, tmp_path: Path) -> None:
    """The recycle begins a second after the last of them, so that it reads all."""
    file = tmp_path / "app.toml"
    file.write_text("")
    pool = start_talk(srvinit, f"--recycle-watch={file}")
    for _ in range(8):
        gaps, last, before = [], time.time(), len(pool.found("recycle.asked"))
        for piece in range(5):
            time.sleep(0.3 if piece else 0)  # who writes takes his time
            with file.open("a") as writing:
                writing.write(f"{piece}\n")
            gaps.append(time.time() - last)
            last = time.time()
        if max(gaps) < 0.8 * QUIET_S:
            break
        time.sleep(2 * QUIET_S)  # the machine was so busy that there were pauses: once more
        pool.wait_event("recycle.finished", within=20, nth=len(pool.found("recycle.asked")))
    assert max(gaps) < 0.8 * QUIET_S, "never were five writes close to each other"
    line = asked(pool, before + 1)
    assert QUIET_S - 0.05 < at(line) - last < 2 * QUIET_S + SLACK_S
    assert stop(pool) == 0


def test_a_path_that_comes_goes_and_comes_back(srvinit: Start, tmp_path: Path) -> None:
    """Missing is said once; what comes back is a change to workers that started without it."""
    file = tmp_path / "made" / "later" / "app.toml"
    pool = start_talk(srvinit, f"--recycle-watch={file}")
    pool.wait_event("watch.missing", path=str(file))
    file.parent.mkdir(parents=True)
    file.write_text("one")
    asked(pool)
    file.parent.rename(tmp_path / "aside")
    pool.wait_event("watch.missing", nth=2)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20, nth=2)
    (tmp_path / "aside").rename(file.parent)
    pool.wait_event("recycle.finished", within=20, nth=3)
    assert stop(pool) == 0
    assert len(pool.found("watch.missing")) == 2
    assert len(pool.found("recycle.asked")) == 2


def test_one_that_vanishes_for_a_moment_is_no_change(srvinit: Start, tmp_path: Path) -> None:
    file = tmp_path / "app.toml"
    file.write_text("one")
    pool = start_talk(srvinit, f"--recycle-watch={file}")
    file.rename(tmp_path / "aside")
    pool.wait_event("watch.missing")
    (tmp_path / "aside").rename(file)
    time.sleep(1.5 * QUIET_S)
    file.write_text("two")
    asked(pool)
    assert stop(pool) == 0
    assert len(pool.found("recycle.asked")) == 1


def test_the_settings_file_is_read_when_it_changes(srvinit: Start, tmp_path: Path) -> None:
    """A faulty one is refused as on SIGHUP; and what is to be watched may change with it."""
    file, more = tmp_path / "srvinit.toml", tmp_path / "more"
    more.write_text("one")

    def write(watch: str, count: int) -> None:
        recycle = f'[recycle]\nsettle = "50ms"\nwatch = [{watch}]\n'
        file.write_text(f"{recycle}[worker]\ncount = {count}\n")

    write('"srvinit.toml"', 1)
    command = ("--config", str(file), "--", "sleep", "1000")
    pool = srvinit(*command, pid1=True, cwd=tmp_path, environ={"PWD": str(tmp_path)})
    pool.wait_event("srvinit.ready")
    # the log is there once srvinit has settled in; what changes before is seen too

    write(f'"srvinit.toml", "{more}"', 3)
    pool.wait_event("count.changed", before=1, after=3)
    assert asked(pool)["paths"] == ["srvinit.toml"]
    more.write_text("two")
    assert asked(pool, 2)["paths"] == [str(more)]
    file.write_text("[recycle]\nwatsch = 1\n")
    assert "watsch" in str(pool.wait_event("config.rejected")["faults"])
    asked(pool, 3)
    assert len(pool.workers()) == 3
    assert stop(pool) == 0


def test_changes_during_a_recycle_make_one_more(srvinit: Start, tmp_path: Path) -> None:
    """The old worker lingers, and the recycle with it."""
    file = tmp_path / "app.toml"
    file.write_text("one")
    pool = start_talk(srvinit, f"--recycle-watch={file}", words=("linger=4",))
    pool.signal("HUP")
    pool.wait_event("worker.stopping")
    file.write_text("two")
    pool.wait_event("recycle.queued")
    pool.wait_event("recycle.finished", within=30, nth=2)
    assert [line["why"] for line in pool.found("recycle.started")] == ["SIGHUP", "recycle.watch"]
    assert stop(pool) == 0


@as_root
def test_a_file_that_is_mounted_by_itself_is_looked_at(srvinit: Start, tmp_path: Path) -> None:
    """As by docker -v FILE:FILE: the kernel tells of the directory that it truly lies in alone."""
    host, here = tmp_path / "host.toml", tmp_path / "app" / "app.toml"
    here.parent.mkdir()
    here.touch()
    host.write_text("one")
    subprocess.run(["mount", "--bind", host, here], check=True)
    try:
        pool = start_talk(srvinit, f"--recycle-watch={here}")
        said = pool.wait_event("watch.polled")
        assert (said["path"], said["why"]) == (str(here), "it is mounted by itself")
        host.write_text("two")
        asked(pool, within=POLL_S + 2 * QUIET_S + SLACK_S)
        assert stop(pool) == 0
    finally:
        subprocess.run(["umount", "--lazy", here], check=True)


@as_root
def test_a_directory_that_may_not_be_watched_is_looked_at(srvinit: Start, tmp_path: Path) -> None:
    """To be told of changes takes the right to read it; to follow a way does not."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o1 == 0:
            os.chmod(folder, folder.stat().st_mode | 0o1)  # noqa: PTH101  only tests live there
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o711)
    file = folder / "app.toml"
    file.write_text("one")
    file.chmod(0o644)
    talk = anybodys(python("talk.py"))
    pool = srvinit("-w1", QUICK, f"--recycle-watch={file}", "--", *talk, prefix=as_user(NOBODY))
    pool.wait_event("srvinit.ready")
    said = pool.wait_event("watch.polled", path=str(folder))
    assert said["why"] == "F_NOTIFY: EACCES"
    file.write_text("two")
    asked(pool, within=POLL_S + 2 * QUIET_S + SLACK_S)
    assert stop(pool) == 0
