"""The wish to stop, and waiting that ends with it. Shell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


class Stopping:
    """Set once, from anywhere in the event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ask to stop."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """True once somebody asked."""
        return self._event.is_set()

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
        """Sleep, unless somebody asks to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
