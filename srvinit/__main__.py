"""`srvinit`, `python -m srvinit`; packaging/start.py is the frozen program's."""

from __future__ import annotations

import sys

from srvinit.kernel import signals


def main() -> int:
    """Block the signals before anything else, then run; return the exit status.

    What comes from here on waits to be taken in: a TERM during the start is not lost.
    """
    mask = signals.block()
    from srvinit import quickstart

    quickstart.begin()
    from srvinit import cli

    return cli.main(sys.argv[1:], mask, settled=quickstart.end)


if __name__ == "__main__":
    sys.exit(main())
