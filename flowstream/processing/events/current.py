"""Which agent instance runs here: set once per instance, read by tables and topics.

A context variable, so that tasks an agent starts belong to its unit too: to the one in which it
started them (see `running.started`). Pure: a protocol and the variable; it must not know the
instance's implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from flowstream.processing.errors import NotInAgent
from flowstream.processing.events.event import Arrival, Event
from flowstream.state.table_view import TableView

Headers = Mapping[str, bytes | None] | tuple[tuple[str, bytes | None], ...]


class Destination(Protocol):
    """What a unit needs of a topic to write to it."""

    @property
    def name(self) -> str:
        """The topic's name."""

    def encode_key(self, key: object) -> bytes | None:
        """A key's bytes."""

    def encode_value(self, value: object) -> bytes | None:
        """A value's bytes; None is a tombstone."""


class Current(Protocol):
    """What a table or topic may ask of the agent instance that runs."""

    @property
    def record(self) -> Arrival | None:
        """The record being processed, None between events."""

    def event(self) -> Event[Any]:
        """The record being processed, decoded."""

    @property
    def shares_source(self) -> bool:
        """Whether other agents read the same topic, in lockstep."""

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

    def watermark(self, table: str) -> int:
        """Event time (ms) that is over in a table for this unit: what was due by then is final."""

    def wall_time_ms(self) -> int:
        """Now, by the worker's clock."""

    def late(self, table: str) -> None:
        """Count a write to a window that is past keeping (S11)."""

    def late_letter(self, table: str) -> None:
        """Send the event to the dead letters, because its windows have closed."""

    def hand_over(self, channel: Any, event: Event[Any]) -> None:
        """Put an event into a channel once the unit is committed."""

    def emit(
        self,
        topic: Destination,
        key: object,
        value: object,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers,
    ) -> tuple[str, int]:
        """Add a record to the unit; gives its (topic, partition)."""


CURRENT: ContextVar[Current | None] = ContextVar("flowstream_agent", default=None)
PROBED: ContextVar[str | None] = ContextVar("flowstream_probed", default=None)
"""The agent that runs up to its first wish for an event and no further (see `Agent.probe`)."""


READING: ContextVar[Current | None] = ContextVar("flowstream_reading", default=None)
"""What a web page reads tables through; its sends are plain ones."""


HERE: ContextVar[Callable[[str], Iterable[Current]] | None] = ContextVar(
    "flowstream_here", default=None
)
"""Through what the tasks and signals of a worker see a table, by its name: one for each of its
partitions that is worked on there.
"""


WORKER: ContextVar[tuple[object, object] | None] = ContextVar("flowstream_worker", default=None)
"""The app and its worker that runs here; None outside of workers."""


def is_inside_agent() -> bool:
    """True in an agent and in the tasks that it started, whether or not an event is open."""
    return CURRENT.get() is not None or PROBED.get() is not None


def in_unit(what: str) -> Current:
    """The running instance, or NotInAgent naming `what` was tried outside an event."""
    current = CURRENT.get()
    if current is not None and current.record is not None:
        return current
    if current is None and (reading := READING.get()) is not None:
        return reading
    label = PROBED.get() if current is None else current.label
    if label is None:
        raise NotInAgent(
            f"{what} is only possible inside an agent, while it processes an event: others send to"
            " its topic or ask it, and read tables by `await app.query(table).get(key)`"
        )
    raise NotInAgent(
        f"{what} needs an event, and {label} has none open: it belongs inside the agent's"
        " `async for`, before the next event is asked for"
    )


def readings(table: str) -> Iterator[None]:
    """In turn for each partition of a table that can be read from here: once inside an agent or a
    page, where it is that of the event; else for all that this worker has. NotInAgent elsewhere.
    """
    here = HERE.get()
    if is_inside_agent() or READING.get() is not None:
        yield
        return
    if here is None:
        raise NotInAgent(
            f"the rows of table {table!r} are seen inside an agent, and by the tasks, timers,"
            " services and signals of a worker"
        )
    for reading in here(table):
        token = READING.set(reading)
        try:
            yield
        finally:
            READING.reset(token)


def current_event() -> Event[Any] | None:
    """The event that the agent around this call processes (of a `take`: its last); None elsewhere.

    For functions that an agent calls; an agent itself has `stream.events()`.
    """
    current = CURRENT.get()
    return None if current is None or current.record is None else current.event()
