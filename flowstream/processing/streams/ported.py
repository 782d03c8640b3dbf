"""Operators of a stream by Faust's names, in terms of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import current_event
from flowstream.processing.events.event import Event
from flowstream.processing.events.topic import Topic
from flowstream.processing.streams.stateful import StatefulOperators
from flowstream.processing.tables.table import Table
from flowstream.processing.values.durations import Seconds

if TYPE_CHECKING:
    from flowstream.processing.streams.stream import Stream

T = TypeVar("T")


class PortedOperators(StatefulOperators[T]):
    """The part of a stream that has another name here, or none."""

    @property
    def enable_acks(self) -> bool:
        """An event is done when the agent asks for the next one, always."""
        return True

    @property
    def current_event(self) -> Event[Any] | None:
        """The event that the agent processes, as `fs.current_event()` gives it."""
        return current_event()

    def inner_join(self, right: Topic[Any, Any] | Table[Any, Any], **options: Any) -> Stream[Any]:
        """As `join`: events that meet."""
        return self.join(right, how="inner", **options)

    def left_join(self, right: Topic[Any, Any] | Table[Any, Any], **options: Any) -> Stream[Any]:
        """As `join(..., how="left")`: also events of this stream that meet nobody."""
        return self.join(right, how="left", **options)

    def outer_join(self, right: Topic[Any, Any], **options: Any) -> Stream[Any]:
        """As `join(..., how="outer")`: also events of both sides that meet nobody."""
        how: Any = "outer"  # a table refuses it in its own words
        return self.join(right, how=how, **options)

    def take_with_timestamp(
        self, max_: int, within: Seconds, timestamp_field_name: str
    ) -> Stream[list[Any]]:
        """As `take`, each dict with the event's time, in seconds, in a field of this name. Values
        that are no dicts stay as they are: `take_events` has their times.
        """
        if not isinstance(timestamp_field_name, str):
            raise AppError(
                "take_with_timestamp: the name of the field is a text, not"
                f" {described(timestamp_field_name)}"
            )

        def stamped(event: Event[Any]) -> Any:
            if not isinstance(event.value, dict):
                return event.value
            return {**event.value, timestamp_field_name: event.timestamp}

        return self._this.events().map(stamped).take(max_, within)
