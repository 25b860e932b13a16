"""A program that watches a folder by srv, and goes on when srv has returned.

    watching.py FOLDER

Each worker says which directories it has open; afterwards the folder is changed once more.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import srvinit


def work(worker: srvinit.Worker) -> None:
    """Say what is open, and wait for the end."""
    open_now = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_dir()]
    shown = [path for path in open_now if not path.startswith("/proc/")]
    os.write(1, f"directories: {shown}\n".encode())
    stopping: list[bool] = []
    worker.on("disconnect", lambda: stopping.append(True))
    worker.ready()
    while not stopping:
        time.sleep(0.01)


folder = Path(sys.argv[1])
options = {"worker": {"count": 1, "require": "notify"}, "recycle": {"watch": [str(folder)]}}
srvinit.srv(options, work)
for turn in range(3):
    (folder / f"after-{turn}").write_text("changed")
print("still here")
