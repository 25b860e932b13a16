"""srvinitctl's commands, one module each; `srvinit.ctl` imports the one that is asked for."""


class FailedError(Exception):
    """What was asked for has not come to be; the message says why, in one line."""
