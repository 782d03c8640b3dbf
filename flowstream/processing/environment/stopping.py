"""The wish to stop, and waiting that ends with it. Shell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

BREATH_S = 0.01
"""What a pause takes that begins when all is to stop."""


class Stopping:
    """Set once, from anywhere in the event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._asked_at: float | None = None

    def set(self) -> None:
        """Ask to stop."""
        if self._asked_at is None:
            with suppress(RuntimeError):  # no loop runs: then from the first look on
                self._asked_at = asyncio.get_running_loop().time()
        self._event.set()

    @property
    def is_set(self) -> bool:
        """True once somebody asked."""
        return self._event.is_set()

    def left_s(self, budget_s: float, least_s: float) -> float:
        """What is left of the time for what goes with a stop. It runs from when somebody asked, or
        of who stops unasked from the first look; `least_s` is there for everyone.
        """
        now = asyncio.get_running_loop().time()
        if self._asked_at is None:
            self._asked_at = now
        return max(least_s, self._asked_at + budget_s - now)

    async def unless(self, work: Awaitable[None]) -> None:
        """Do something that is cancelled when somebody asks to stop."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait((working, stopping))

    async def pause(self, seconds: float) -> None:
        """Sleep, unless somebody asks to stop. Once that is so everyone else has a turn: a task
        that sleeps in a loop, and does not look, could not even be cancelled.
        """
        if self._event.is_set():
            await asyncio.sleep(min(seconds, BREATH_S))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
