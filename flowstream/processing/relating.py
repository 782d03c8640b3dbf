"""What an app declares about tables that come from elsewhere: from a topic, or from two tables."""

from __future__ import annotations

from typing import Any, TypeVar

from flowstream.processing.agent import Agent
from flowstream.processing.errors import AppError
from flowstream.processing.stream import Stream
from flowstream.processing.table_changes import JoinedTables, TableJoin
from flowstream.processing.tables import Table
from flowstream.processing.timing import Timing
from flowstream.processing.topic import Topic

K = TypeVar("K")
V = TypeVar("V")


class Relating(Timing):
    """The part of an app that makes tables of topics, and joins tables."""

    def table(self, topic: Topic[K, V], *, name: str | None = None) -> Table[K, V]:
        """A table of a topic's newest value per key; a record without a value deletes its key.

        The topic's agents find the row of an event's key in the state that earlier events left it.

        >>> from flowstream import App
        >>> app = App("shop")
        >>> customers = app.table(app.topic("customers", key_type=str, value_type=dict))
        """
        named = name or topic.name
        self.check_table_name(named)
        table: Table[K, V] = Table(
            named, key_type=topic.key_type, value_type=topic.value_type, default=None,
            partitions=None,
        )  # fmt: skip
        self.tables[named] = table

        async def follow(stream: Stream[Any]) -> None:
            async for event in stream.events():
                if event.key is None:
                    raise ValueError(f"a record of table {named!r} needs a key")
                if event.value is None:
                    table.pop(event.key, None)
                else:
                    table[event.key] = event.value

        self.add_agent(
            Agent(follow, topic.with_tombstones(), name=f"{named}.table", sinks=(), on_error="stop")
        )
        return table

    def join(
        self,
        left: Table[K, Any],
        right: Table[K, Any],
        *,
        how: TableJoin = "inner",
        name: str | None = None,
    ) -> JoinedTables[K]:
        """Two tables with one key, side by side, for an agent to read: `Joined(left, right)`
        whenever one side of a key changed, None once the key has no result any more.

        >>> from flowstream import App
        >>> app = App("shop")
        >>> prices, stock = app.Table("prices", default=int), app.Table("stock", default=int)
        >>> @app.agent(app.join(prices, stock))
        ... async def offer(stream):
        ...     async for item, joined in stream.items():
        ...         print(item, "gone" if joined is None else joined.left)
        """
        for table in (left, right):
            if table.window is not None:
                raise AppError(f"table {table.name!r} has windows, which have no single value")
        return JoinedTables(name or f"{left.name}-{right.name}", left, right, how)
