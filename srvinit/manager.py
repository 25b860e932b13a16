"""What srvinit's own manager, if it has one, is told in sd_notify(3)'s words."""

from __future__ import annotations

from srvinit.kernel import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.watch import Emit


def tell(text: str, emit: Emit) -> None:
    """Tell it, and the log whether it could be told."""
    why_not = notify.tell_manager(text)
    if why_not is None:
        emit("manager.told", {"text": text})
    else:
        emit("manager.unreachable", {"text": text, "error": why_not})
