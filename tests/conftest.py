"""What every test may rely on: it begins with the process as the test before it found it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
"""How long an example takes says how busy the machine is."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So begins what a shell runs in the background, and with it every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def levels() -> dict[str, int]:
    """The level of every logger that has one of its own."""
    loggers = logging.root.manager.loggerDict.copy()
    return {name: it.level for name, it in loggers.items() if isinstance(it, logging.Logger)}


@pytest.fixture(autouse=True)
def _log_levels_as_before() -> Iterator[None]:
    """A test that runs a verb in this process sets levels, as it does: not for the next one."""
    before = levels()
    yield
    for name, level in levels().items():
        if level != before.get(name, logging.NOTSET):
            logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))
