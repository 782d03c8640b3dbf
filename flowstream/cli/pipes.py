"""A standard output that nobody reads any more."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Print for somebody who may have seen enough (`| head`), or be gone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        leave_stdout()


def leave_stdout() -> None:
    """Its reader is gone: the interpreter's last flush must not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
