#!/usr/bin/env python3
"""Draw docs/timeline.svg, the README's picture, out of the log of a real run.

The run is tests/unit/recorded/timeline/story.log; record.py beside it makes a new one.
`docs/generate_timeline.py --check` says whether the picture is that of the code, and exits 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from srvinit.report.timeline import command, page

HERE = Path(__file__).parent
LOG = HERE.parent / "tests/unit/recorded/timeline/story.log"
PICTURE = HERE / "timeline.svg"
WIDTH = 900.0  # about what a README is shown at: its letters stay as large as they are


def picture() -> str:
    """Return the picture; its pod is called as a pod would be."""
    (pod,) = command.pods_of([str(LOG)])
    pod.name = "web-7d9f4b-abcde"
    return page.svg([pod], width=WIDTH) + "\n"


def main() -> int:
    """Write the picture, or with --check compare it."""
    text = picture()
    if "--check" in sys.argv[1:]:
        if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write("timeline.svg differs from the code: run docs/generate_timeline.py\n")
        return 1
    PICTURE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
