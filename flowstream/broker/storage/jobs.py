"""What the storage does in the background, where nobody waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


class Jobs:
    """One after the other; without an executor at once. Belongs to one thread."""

    def __init__(self, background: Executor | None) -> None:
        """None yet."""
        self.background = background
        self._running: deque[Future[None]] = deque()

    def do(self, job: Callable[[T], None], wanted: T) -> None:
        """Call `job` with `wanted`."""
        if self.background is None:
            job(wanted)
        else:
            self._running.append(self.background.submit(job, wanted))

    def check(self) -> None:
        """Raises StorageError where something was refused."""
        while self._running and self._running[0].done():
            self._running.popleft().result()
