"""What structlog's loggers raise where they cannot be pickled; nobody pickles one here."""


class PicklingError(Exception):
    """Named when structlog is imported."""
