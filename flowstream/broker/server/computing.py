"""The thread for what takes long to compute. The proof of a PLAIN login is slow on purpose: a storm
of logins must hold up nobody but those who log in (X4).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from flowstream.broker.effects import Compute

Done = Callable[[Compute, bytes | BaseException], None]


class ComputeThread:
    """Computes one thing after another, in the order in which they were asked for.

    `is_wanted` is asked before each, so that what a flood of connections left behind costs nothing;
    `done` is called on the loop with the result, or with what was raised.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, is_wanted: Callable[[Compute], bool], done: Done
    ) -> None:
        self._loop = loop
        self._is_wanted = is_wanted
        self._done = done
        self._queue: deque[Compute] = deque()
        self._thread: ThreadPoolExecutor | None = None  # made when it is needed first
        self._busy = False
        self._ended = False

    def start(self, wanted: Compute) -> None:
        """Compute it when its turn comes."""
        self._queue.append(wanted)
        self._next()

    def end(self) -> None:
        """Compute nothing more; what is being computed takes some milliseconds."""
        self._ended = True
        self._queue.clear()
        if self._thread is not None:
            self._thread.shutdown()

    def _next(self) -> None:
        while self._queue and not self._busy and not self._ended:
            wanted = self._queue.popleft()
            if self._is_wanted(wanted):
                self._busy = True
                if self._thread is None:
                    self._thread = ThreadPoolExecutor(1, "flowstream-compute")
                self._thread.submit(wanted.work).add_done_callback(
                    lambda future, wanted=wanted: self._computed(wanted, future)  # type: ignore[misc]
                )

    def _computed(self, wanted: Compute, future: Future[bytes]) -> None:
        """In the thread: hand the result to the loop."""
        error = future.exception()
        result = future.result() if error is None else error
        try:
            self._loop.call_soon_threadsafe(self._finished, wanted, result)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _finished(self, wanted: Compute, result: bytes | BaseException) -> None:
        self._busy = False
        if not self._ended:
            self._done(wanted, result)
            self._next()
