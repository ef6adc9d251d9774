"""Which of several processes of one command this is."""

import os


def is_first() -> bool:
    """Whether this is the process that prints and writes, if a launcher has started several of one command."""
    return os.environ.get("RANK", "0") == "0"
