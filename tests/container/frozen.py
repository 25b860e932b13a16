"""The bundle that images get: dist/srvinit, frozen anew if a source is younger than it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = ROOT / "dist" / "srvinit"


def bundle() -> Path:
    """Return dist/srvinit, of the sources as they are."""
    for name in ("gcc", "musl-gcc", "objcopy"):
        harness.program(name)
    stamp = ROOT / "build" / "freeze" / "dist"
    sources = [*(ROOT / "srvinit").rglob("*.py"), *(ROOT / "packaging").rglob("*.*")]
    newest = max(path.stat().st_mtime for path in sources)
    if not BUNDLE.exists() or not stamp.exists() or stamp.stat().st_mtime < newest:
        subprocess.run(["make", "freeze"], cwd=ROOT, check=True, capture_output=True)
    return BUNDLE
