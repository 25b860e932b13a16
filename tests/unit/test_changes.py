"""Where a path leads, and whether what is there is still the same: on the real file system."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from srvinit.kernel import changes

if TYPE_CHECKING:
    from collections.abc import Iterator


def config_map(folder: Path, version: str, content: str) -> None:
    """Put a version of a ConfigMap in place, as the kubelet does."""
    data = folder / f"..{version}"
    data.mkdir(parents=True)
    (data / "app").write_text(content)
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "app").is_symlink():
        (folder / "app").symlink_to("..data/app")


def test_a_way_passes_each_directory_up_to_the_file(tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "etc"
    config_map(folder, "2026_1", "one")

    way = changes.follow(f"{folder}/app")

    assert way.end == f"{folder}/..2026_1/app"
    assert way.held == {f"{folder}/..2026_1"}
    assert {"/", str(folder.parent), str(folder), f"{folder}/..2026_1"} <= way.passed


@pytest.mark.parametrize("path", ["etc/app", "etc"], ids=["file", "directory"])
def test_a_swapped_config_map_is_another_one(tmp_path: Path, path: str) -> None:
    config_map(tmp_path / "etc", "2026_1", "one")
    before = changes.follow(f"{tmp_path}/{path}").identity
    assert changes.follow(f"{tmp_path}/{path}").identity == before

    config_map(tmp_path / "etc", "2026_2", "one")

    assert changes.follow(f"{tmp_path}/{path}").identity != before


@pytest.mark.parametrize("path", ["etc/app", "etc"], ids=["file", "directory"])
@pytest.mark.parametrize("how", ["in place", "by rename", "touched", "gone"])
def test_each_way_to_change_a_file_is_seen(tmp_path: Path, path: str, how: str) -> None:
    file = tmp_path / "etc" / "app"
    file.parent.mkdir()
    file.write_text("one")
    os.utime(file, (1, 1))
    before = changes.follow(f"{tmp_path}/{path}").identity

    if how == "in place":
        with file.open("a") as writing:
            writing.write("more")
    elif how == "by rename":
        (tmp_path / "new").write_text("one")
        os.utime(tmp_path / "new", (1, 1))
        (tmp_path / "new").rename(file)
    elif how == "touched":
        file.touch()
    else:
        file.unlink()

    assert changes.follow(f"{tmp_path}/{path}").identity != before


def test_what_is_read_or_lies_in_a_subdirectory_changes_nothing(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "app").write_text("one")
    before = changes.follow(str(tmp_path)).identity

    (tmp_path / "app").read_text()
    (below / "cache").write_text("x")
    os.chmod(tmp_path / "app", 0o600)  # noqa: PTH101  beside its like

    assert changes.follow(str(tmp_path)).identity == before


@pytest.mark.parametrize("missing", ["no/such/file", "app/below", "loop", "dangling"])
def test_what_is_not_there_has_no_identity(tmp_path: Path, missing: str) -> None:
    (tmp_path / "app").write_text("one")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")

    way = changes.follow(f"{tmp_path}/{missing}")

    assert way.identity is None
    assert str(tmp_path.resolve()) in way.passed, "where it may come to be"


def test_links_with_dots_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "app").write_text("one")
    (tmp_path / "a" / "b" / "up").symlink_to("../../app")
    (tmp_path / "abs").symlink_to(tmp_path / "a" / ".." / "app")

    ends = {changes.follow(f"{tmp_path}/{path}").end for path in ("a/b/up", "abs", "./a/../app")}

    assert ends == {str((tmp_path / "app").resolve())}


MOUNTS = """\
612 608 0:54 / / rw,relatime master:250 - overlay overlay rw,lowerdir=/a:/b
620 612 254:1 /etc/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
621 612 0:77 / /etc/config ro,relatime - tmpfs tmpfs ro,size=65536k
622 612 0:78 / /mnt/share rw,relatime - nfs4 host:/share rw
623 612 0:79 / /mnt/host rw,relatime - fuse.grpcfuse host rw
624 612 0:79 /app.toml /app/app.toml rw,relatime - ext4 /dev/vda1 rw
625 612 0:80 / /with\\040space rw,relatime - 9p host rw
"""


@pytest.mark.parametrize(
    ("end", "is_file", "why"),
    [
        ("/app/main.py", True, ""),
        ("/etc/config/..2026/app", True, ""),
        ("/etc/config", False, ""),
        ("/app/app.toml", True, "it is mounted by itself"),
        ("/mnt/share/x", True, "it is on nfs4"),
        ("/mnt/host", False, "it is on fuse.grpcfuse"),
        ("/mnt/hostile", True, ""),
        ("/with space/x", True, "it is on 9p"),
    ],
)
def test_places_whose_changes_nobody_tells_of_are_known(end: str, is_file: bool, why: str) -> None:  # noqa: FBT001
    assert changes.parse_silence(MOUNTS, end, is_file=is_file) == why


@pytest.fixture
def deaf() -> Iterator[None]:
    """SIGIO, which whoever works beside us may cause, would end this process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.mark.usefixtures("deaf")
def test_bells_are_hung_where_they_are_wanted_and_taken_down_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "app").write_text("one")
    opened = len(list(Path("/proc/self/fd").iterdir()))
    bells = changes.Bells()

    assert bells.hang([changes.follow(f"{tmp_path}/app")]) == {}
    hung = set(bells.fds)
    assert len(hung) == len(changes.follow(f"{tmp_path}/app").passed)
    assert bells.hang([changes.follow(f"{tmp_path}/app")]) == {}
    assert set(bells.fds) == hung, "nothing is done twice"
    bells.close()

    assert bells.fds == ()
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
