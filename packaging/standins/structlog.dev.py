"""structlog's console for developers, a default of settings that nobody reads here."""

_has_colors = False
set_exc_info = None


class ConsoleRenderer:
    """Made, and never called: report/render.py has a console of its own."""

    def __init__(self, **_settings: object) -> None:
        """Take what structlog's default settings say."""
