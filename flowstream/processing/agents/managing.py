"""Agents of our own that serve a table: one changes the sets of a `SetTable` as its `SetManager`s
ask, one tells a function of windows that have closed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from flowstream.processing.streams.stream import Stream
from flowstream.processing.tables.set_tables import SetTable
from flowstream.processing.time.windows import WindowRange

WindowClosed = Callable[[tuple[Any, WindowRange], Any], Any]
"""Called with `(key, (start, end))` and the final value of a window; may be `async def`."""

Body = Callable[[Stream[Any]], Coroutine[Any, Any, None]]


def managing(table: SetTable[Any, Any]) -> Body:
    """The agent that does what managers ask."""
    kind = table.rows.member_type

    async def manage(stream: Stream[Any]) -> None:
        async for key, change in stream.items():
            members = [msgspec.convert(member, kind, strict=False) for member in change.members]
            if change.action == "clear":
                table[key].clear()
            else:
                getattr(table[key], change.action)(members)

    return manage


def telling_closed(function: WindowClosed) -> Body:
    """The agent that calls a function with each window that has closed, as Faust does."""

    async def tell(stream: Stream[Any]) -> None:
        async for window in stream:
            range = WindowRange(window.start, window.end)
            done = function((window.key, range), window.value)
            if inspect.isawaitable(done):
                await done

    return tell
