"""structlog for programs that use `logging`: nobody here does."""
