"""What a user did or met, said in the user's terms.

Each message names what was wrong, the value received, what was expected and what to do next. The command line prints
the message alone and exits with 2; a notebook shows it as its last line.
"""


class USLNetError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(USLNetError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(USLNetError):
    """An image, a mask, a folder or a download is not what it should be."""


class RunError(USLNetError):
    """A stage's input is missing, was edited, or was made by another version."""


class TrainingError(USLNetError):
    """A training run failed its health check: stuck, collapsed, constant or not a number."""
