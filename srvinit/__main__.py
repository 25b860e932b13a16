"""`srvinit`, `python -m srvinit`; packaging/start.py is the frozen program's."""

import _signal
import sys


def main() -> int:
    """Block the signals before anything else, then run; return the exit status.

    What comes from here on waits to be taken in: a TERM during the start is not lost.
    """
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        from srvinit import quickstart

        quickstart.begin()
        from srvinit import cli
        from srvinit.kernel import signals
    except (OSError, ImportError, MemoryError) as lack:  # EMFILE, a file that cannot be read
        sys.stderr.write(f"srvinit: cannot start: {lack or 'out of memory'}\n")
        return 1
    mask = signals.block(before)
    return cli.main(sys.argv[1:], mask, settled=quickstart.end)


if __name__ == "__main__":
    sys.exit(main())
