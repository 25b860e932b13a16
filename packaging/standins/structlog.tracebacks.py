"""structlog's form of tracebacks: srvinit's are text, made by faults.py."""


class ExceptionDictTransformer:
    """Made, and never called."""
