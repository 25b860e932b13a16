"""Where a call, an import or memory is refused, the loop answers the core and goes on."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from srvinit import supervisor
from srvinit.errors import KernelRefused
from srvinit.lifecycle import actions, events
from srvinit.options import Options
from srvinit.starting import Start

if TYPE_CHECKING:
    from collections.abc import Callable

LACKS = [
    KernelRefused("kill", "worker 0", 1),
    OSError(24, "Too many open files"),
    ImportError("cannot import name 'notify'"),
    MemoryError(),
]
as_lacks = pytest.mark.parametrize("lack", LACKS, ids=lambda lack: type(lack).__name__)


def refusing(lack: Exception) -> Callable[..., NoReturn]:
    def refuse(*_arguments: object) -> NoReturn:
        raise lack

    return refuse


def loop_with(reload: Callable[[], Options] = Options) -> supervisor.Supervisor:
    """Make a loop whose log is not open yet; nothing is started."""
    setup: Any = SimpleNamespace(options=Options(), reload=reload, launch=lambda _: None)
    return supervisor.Supervisor(Start(setup))


def said(loop: supervisor.Supervisor) -> list[tuple[str, dict[str, Any]]]:
    return [(event, fields) for event, fields, _, _ in loop._telling._early]


@as_lacks
def test_an_order_that_fails_leaves_the_others_as_they_are(lack: Exception) -> None:
    loop = loop_with()
    orders = [actions.TellManager("READY=1"), actions.Exit(0, "over")]
    loop.pool = SimpleNamespace(handle=lambda _event, _now: orders)
    loop._perform[actions.TellManager] = refusing(lack)

    loop._feed(events.Tick())

    assert loop.status == 0
    refused, *_ = said(loop)
    assert refused == ("kernel.refused", {"error": str(lack) or "out of memory"})


@as_lacks
def test_settings_that_cannot_be_read_are_an_answer_too(lack: Exception) -> None:
    """The core waits for it: a recycle without one would never begin."""
    loop = loop_with(refusing(lack))

    answer = loop._read_config(actions.ReadConfig())

    assert answer == events.ConfigRejected([str(lack) or "out of memory"])


def test_a_count_that_cannot_be_worked_out_refuses_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = loop_with()
    monkeypatch.setattr(supervisor, "worker_count", refusing(LACKS[1]))

    assert isinstance(loop._read_config(actions.ReadConfig()), events.ConfigRejected)


@pytest.mark.parametrize("lack", LACKS[1:], ids=lambda lack: type(lack).__name__)
def test_settings_that_are_taken_up_stay_so_though_something_lacks(
    lack: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_with()
    monkeypatch.setattr(loop._starter, "prepare", refusing(lack))

    answer = loop._read_config(actions.ReadConfig())

    assert isinstance(answer, events.ConfigRead)
    assert [event for event, _ in said(loop)] == ["kernel.refused"]


def test_a_directory_that_could_not_be_listed_is_listed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python takes it for an empty one until it changes: the log would never be there."""
    loop = loop_with()
    monkeypatch.setattr(sys, "path_importer_cache", {"/unlisted": None})
    monkeypatch.setattr(loop._telling.log, "start", refusing(ImportError("no structlog")))

    loop._settle_in()

    assert not sys.path_importer_cache
    assert loop._settle_at is not None  # it is tried again


@as_lacks
def test_a_worker_that_cannot_be_started_is_an_answer(lack: Exception) -> None:
    loop = loop_with()
    loop._starter.prepare(Options())
    loop._setup.fit = refusing(lack)
    loop.pool = SimpleNamespace(count=1)

    answer = loop._spawn(actions.Spawn(7, 0, 1, 0))

    assert answer == events.SpawnFailed(7, str(lack) or "out of memory")
