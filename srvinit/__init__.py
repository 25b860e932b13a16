"""srvinit: the container entrypoint that forks, recycles and stops N workers on one socket.

Importing the package imports nothing heavy: the public names are looked up when they are used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvinit.library import Worker, srv
    from srvinit.options import Options

__version__ = "0.1.0"
# Where srvinit publishes its status (report/status.py): a memfd of this name, at this descriptor.
# 63 is the last of the table that each process begins with: a higher number would have the kernel
# make, and copy at every fork, a larger one. It is above all sockets that anybody hands over, and
# there even under `ulimit -n 64`.
STATUS_NAME = "srvinit-status"
STATUS_FD = 63
__all__ = ["Options", "Worker", "__version__", "srv"]


def __getattr__(name: str) -> "Any":
    """Import a public name at its first use (PEP 562)."""
    if name in {"srv", "Worker"}:
        from srvinit import library

        return getattr(library, name)
    if name == "Options":
        from srvinit.options import Options

        return Options
    raise AttributeError(f"module 'srvinit' has no attribute {name!r}")
