"""Changing the sets of a `SetTable` from anywhere: requests to an agent that has its partition.

Declarations; the agent is in `agents.managing`. A request is a record, sent in a unit as any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from flowstream.processing.events.topic import Topic
    from flowstream.processing.tables.set_tables import SetTable

K = TypeVar("K")
M = TypeVar("M")

Action = Literal["update", "difference_update", "intersection_update",
                 "symmetric_difference_update", "clear"]  # fmt: skip


class SetChange(msgspec.Struct, frozen=True):
    """One change of one key's set."""

    action: Action
    members: list[Any] = []


class SetManager(Generic[K, M]):
    """Sends changes of a table's sets to whoever has them; made by `SetTable(start_manager=True)`.

    A change is done once its record is processed, a moment later. Members travel as JSON.
    """

    def __init__(self, table: SetTable[K, M], topic: Topic[K, SetChange]) -> None:
        self.table = table
        self.topic = topic

    async def add(self, key: K, member: M) -> None:
        """Have a member in a key's set."""
        await self._send(key, "update", [member])

    async def discard(self, key: K, member: M) -> None:
        """Have it in no more."""
        await self._send(key, "difference_update", [member])

    async def clear(self, key: K) -> None:
        """Have nothing in it."""
        await self._send(key, "clear", [])

    async def update(self, key: K, members: Iterable[M]) -> None:
        """Have these in it, too."""
        await self._send(key, "update", members)

    async def difference_update(self, key: K, members: Iterable[M]) -> None:
        """Have none of these in it."""
        await self._send(key, "difference_update", members)

    async def intersection_update(self, key: K, members: Iterable[M]) -> None:
        """Have none in it but of these."""
        await self._send(key, "intersection_update", members)

    async def symmetric_difference_update(self, key: K, members: Iterable[M]) -> None:
        """Have what is in one of the two, not in both."""
        await self._send(key, "symmetric_difference_update", members)

    async def _send(self, key: K, action: Action, members: Iterable[M]) -> None:
        await self.topic.send(key=key, value=SetChange(action, list(members)))
