"""What the storage does in the background, where nobody waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Background(ThreadPoolExecutor):
    """One thread whose failures are told at once: nobody may come to ask for them (D2)."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        """`failed` is called in the thread."""
        super().__init__(1, thread_name_prefix=name)
        self._failed = failed

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Let the thread call it, after all that was submitted before."""
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._look)
        return future

    def _look(self, future: Future[R]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._failed(error)


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
