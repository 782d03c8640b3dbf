"""What is told of a broker that takes a connection and says nothing. Shell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT_S = 3.0
"""After so long without an answer somebody is told that it is waited for."""


@contextmanager
def told_of_silence(bootstrap: str, tell: Callable[[str], object]) -> Iterator[None]:
    """Tell while a block connects to HOST:PORT that waits for an answer: what listens there may be
    no broker, and a request has half a minute.
    """
    line = f"{bootstrap} does not answer yet: waiting for it. Is it a Kafka broker?"
    timer = asyncio.get_running_loop().call_later(SILENT_S, tell, line)
    try:
        yield
    finally:
        timer.cancel()
