"""An event loop on virtual time: when nothing is left to do, the clock jumps to the next timer.

Shell without a system below it: no sockets, no threads, no sleeping. It runs inside whatever loop
the test runs in, a stretch at a time, so that between two lines of a test nothing moves. Knows no
broker and no app.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from flowstream import clock

T = TypeVar("T")

_EPSILON_S = 1e-7
"""Less than any timer of interest, more than the rounding of sums of floats."""


class Stalled(RuntimeError):
    """Nothing is left that could ever happen, and something is waited for."""


class _Jump:
    """The selector of a loop without files: it waits by moving the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Nothing is ready to run if `timeout` is not 0: time may pass."""
        if timeout is None or timeout > 0:
            self._loop.pass_time(timeout)
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See above. `quiet` is called whenever nothing is ready to run and time would pass; True: it
    has made something ready.
    """

    def __init__(self, start_ms: int) -> None:
        super().__init__()
        self.start_ms = start_ms
        self.quiet: Callable[[], bool] = lambda: False
        self._elapsed_s = 0.0
        self._selector = _Jump(self)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._elapsed_s

    @property
    def now_ms(self) -> int:
        """The virtual wall clock."""
        return self.start_ms + int((self._elapsed_s + _EPSILON_S) * 1000)

    def pass_time(self, timeout: float | None) -> None:
        """Jump to the next timer, unless something was made ready. Stalled when there is none."""
        if self.quiet():
            return
        if timeout is None:
            raise Stalled("nothing is left to happen: something waits for what never comes")
        self._elapsed_s = max(self._elapsed_s + timeout, self._next_timer())

    def _next_timer(self) -> float:
        # The sum of now and a difference need not be the timer's own time, to the last bit.
        scheduled: list[Any] = self._scheduled  # type: ignore[attr-defined]
        return float(scheduled[0].when()) if scheduled else 0.0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run until `work` is done, from inside another loop or outside of any."""
        with self.entered():
            return self.run_until_complete(work)

    def pending(self) -> set[asyncio.Task[Any]]:
        """Tasks that are not done."""
        return asyncio.all_tasks(self)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Step out of the loop that runs here, if any, and read virtual clocks meanwhile."""
        outer = events._get_running_loop()
        if outer is self:
            raise RuntimeError(
                "an agent cannot drive the test that it runs in: await what it needs instead"
            )
        task = None if outer is None else asyncio.current_task(outer)
        if task is not None and outer is not None:
            asyncio.tasks._leave_task(outer, task)
        events._set_running_loop(None)
        hooks = sys.get_asyncgen_hooks()
        try:
            with clock.replaced(lambda: self.now_ms * 1_000_000, self._monotonic_ns):
                yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(outer)
            if task is not None and outer is not None:
                asyncio.tasks._enter_task(outer, task)

    def _monotonic_ns(self) -> int:
        return int((self._elapsed_s + _EPSILON_S) * 1_000_000_000)

    # -- what a loop with a system below it would do ----------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call it here and now: threads would not be the same every time."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 (it is whoever awaits it who gets it)
            done.set_exception(error)
        return done

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""
