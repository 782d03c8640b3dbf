"""What a worker lends to its agent instances: counters, outputs, a clock, a way to stop.

Protocols and plain counters; knows no implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from flowstream.processing.environment.settings import Settings
from flowstream.processing.running.committed import Committed
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.time.marks import Marks
from flowstream.processing.time.watermarks import EventClock, Watermark
from flowstream.processing.units.outputs import OutputTopic
from flowstream.processing.watching.meters import Meters
from flowstream.state.expiring import UnitTime
from flowstream.state.table_view import TableView

if TYPE_CHECKING:
    from flowstream.processing.agents.onlookers import Onlookers


@dataclass(slots=True)
class Counts:
    """What a worker counts; nothing is skipped silently (S11)."""

    events: int = 0
    """Records that came from topics. One that is retried counts once, but what a worker goes back
    to (`aborts`, a rebalance) comes again.
    """
    skipped: int = 0
    retried: int = 0
    conflicts: int = 0
    """Units of concurrent agents that were done again, as others had changed their rows."""
    dead_letters: int = 0
    parked: int = 0
    late: int = 0
    commits: int = 0
    aborts: int = 0


class Surroundings(Protocol):
    """What the worker lends its instances."""

    @property
    def app_id(self) -> str:
        """The app's id."""

    @property
    def settings(self) -> Settings:
        """The app's."""

    @property
    def counts(self) -> Counts:
        """Shared counters."""

    @property
    def meters(self) -> Meters:
        """What is measured per epoch or rarer."""

    @property
    def committed(self) -> Committed:
        """What is committed here, for those who read tables from outside."""

    @property
    def append(self) -> Callable[..., None]:
        """Add (partition, key, value, timestamp_ms, headers) to the open epoch."""

    def output(self, topic: str) -> OutputTopic:
        """A topic to write to; AppError when the app did not declare it."""

    @property
    def onlookers(self) -> Onlookers:
        """Who is told what happens."""

    @property
    def dead_letters(self) -> str:
        """The topic of dead letters."""

    @property
    def replies(self) -> str:
        """The topic of replies of this app."""

    @property
    def has_looked_for_replies(self) -> bool:
        """Whether the plan was made anew for the sake of replies."""

    @property
    def is_outgrown(self) -> bool:
        """Whether the plan is to be made anew: what waits for that is done then."""

    def reply_output(self, topic: str) -> OutputTopic | None:
        """A topic for replies, None when it is none of this app or not there."""

    def plan_again(self) -> None:
        """There is a topic that the plan does not know: join anew with another plan."""

    def fail(self, error: BaseException) -> None:
        """Stop the worker after committing what is complete."""

    def wall_time_ms(self) -> int:
        """Now, by the clock door."""


class Timed(Protocol):
    """What keeps the event time of a table partition whose rows end: by windows, or by ttl."""

    stream_time_ms: int
    ahead: dict[str, int]

    def seen_ms(self, agent: str) -> int:
        """The greatest event time for a unit of this agent."""

    def defer(self, agent: str, at_ms: int) -> None:
        """A unit of this agent at this event time wrote rows, and may not commit yet."""

    def observe(self, rows: Iterable[bytes], at_ms: int) -> None:
        """A unit at this event time wrote rows that may commit."""

    def expire(self, most_ms: int | None) -> Mapping[bytes, int]:
        """Before the epoch closes: delete what is due, by no later time than `most_ms` if given.
        Gives the rows that are changes of their keys, with when each was over.
        """

    def record_time(self, rows: dict[bytes, bytes | None]) -> None:
        """Add the event time to the epoch's rows when it has moved."""


@dataclass(slots=True)
class Shelf:
    """A task's tables as its instances share them."""

    views: Mapping[str, Callable[[UnitTime], TableView]] = field(default_factory=dict)
    witnesses: Mapping[str, Callable[[UnitTime], TableView]] = field(default_factory=dict)
    """The views for units that are open side by side; tables that these cannot use are not here."""
    windowed: Mapping[str, Timed] = field(default_factory=dict)
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Tables in which each changed key of a table is entered."""
    marks: Mapping[str, Marks] = field(default_factory=dict)
    """The marks of each repartition topic that the task reads."""
    dues: Mapping[str, Sequence[DuePartition]] = field(default_factory=dict)
    clock: EventClock | None = None
    """The task's event time; None when nothing in the task comes due."""
    watermarks: Mapping[str, Watermark] = field(default_factory=dict)
    """What is over in each table in which something comes due or is ever late."""
    minds_time: bool = False
    """Whether event time says anything here: of windows, joins, rows that end, what comes due."""
