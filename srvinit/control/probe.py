"""`srvinitctl --pid PID ready`; without an option `ctl` answers without an import."""

from __future__ import annotations

from srvinit import ctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: a probe asks one thing."""


def run(options: argparse.Namespace) -> int:
    """Answer."""
    return ctl.probe(options.command, options.pid)
