"""Who reads the status while its successor is being written."""

from __future__ import annotations

import os

from srvinit import STATUS_NAME
from srvinit.kernel import descriptors, memfd
from srvinit.report import reading


def test_a_status_that_is_being_written_is_not_read() -> None:
    """Chaos found it: below its usual descriptor the one that is half written may come first."""
    first, second = (descriptors.open_memory(STATUS_NAME) for _ in range(2))
    try:
        for being_written, published in ((first, second), (second, first)):
            made = descriptors.open_memory(STATUS_NAME)
            os.dup2(made, being_written, inheritable=False)
            os.close(made)
            memfd.replace(published, STATUS_NAME, b'{"whole": true}\n')
            os.write(being_written, b'{"who')
            assert reading.read(os.getpid()) == b'{"whole": true}\n'
    finally:
        os.close(first)
        os.close(second)
