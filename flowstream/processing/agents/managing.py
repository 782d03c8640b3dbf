"""The agent that changes the sets of a `SetTable` as its `SetManager`s ask."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from flowstream.processing.streams.stream import Stream
from flowstream.processing.tables.set_tables import SetTable


def managing(table: SetTable[Any, Any]) -> Callable[[Stream[Any]], Coroutine[Any, Any, None]]:
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
