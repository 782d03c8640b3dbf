"""Which agent instance runs here: set once per instance, read by tables and topics.

A context variable, so that tasks an agent starts belong to its unit too. Pure: a protocol and the
variable; it must not know the instance's implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from flowstream.processing.errors import NotInAgent
from flowstream.processing.event import Arrival
from flowstream.state.table import TableView

if TYPE_CHECKING:
    from flowstream.processing.topic import Topic

Headers = Mapping[str, bytes | None] | tuple[tuple[str, bytes | None], ...]


class Current(Protocol):
    """What a table or topic may ask of the agent instance that runs."""

    @property
    def record(self) -> Arrival | None:
        """The record being processed, None between events."""

    @property
    def views(self) -> Mapping[str, TableView]:
        """The unit's view of each table of the task."""

    @property
    def timestamp_ms(self) -> int:
        """Event time of the unit: its last record's timestamp."""

    @property
    def label(self) -> str:
        """Agent, topic and partition, for messages."""

    def view(self, table: str) -> TableView:
        """The unit's view of a table; PartitionMismatch when the agent cannot use it."""

    def stream_time_ms(self, table: str) -> int:
        """The greatest event time that a windowed table has seen, this unit included."""

    def wall_time_ms(self) -> int:
        """Now, by the worker's clock."""

    def late(self, table: str) -> None:
        """Count a write to a window that is past keeping (S11)."""

    def emit(
        self,
        topic: Topic[Any, Any],
        key: object,
        value: object,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers,
    ) -> tuple[str, int]:
        """Add a record to the unit; gives its (topic, partition)."""


CURRENT: ContextVar[Current | None] = ContextVar("flowstream_agent", default=None)


def in_unit(what: str) -> Current:
    """The running instance, or NotInAgent naming `what` was tried outside an event."""
    current = CURRENT.get()
    if current is None:
        raise NotInAgent(f"{what} is only possible inside an agent, while it processes an event")
    if current.record is None:
        raise NotInAgent(
            f"{what} needs an event: {current.label} has not taken one yet"
            " (use the table inside `async for`)"
        )
    return current
