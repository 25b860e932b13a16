"""Lets these tests run alone, too: `scenes` is found by pytest only where tests/process runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROCESS = os.fspath(Path(__file__).parents[1] / "process")
if PROCESS not in sys.path:
    sys.path.append(PROCESS)
