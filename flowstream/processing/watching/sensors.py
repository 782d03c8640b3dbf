"""Sensors: objects that are told what a worker does, event by event.

The names are Faust's. What is told costs nothing while no sensor is installed: whoever would tell
asks once, when its task opens. Must not change anything: a sensor sees, and that is all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from flowstream.processing.errors import AppError
from flowstream.processing.events.event import Arrival
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")


class Sensor:
    """Something that watches a worker; each method may be overridden, and does nothing otherwise.

    `app` stands where Faust has a consumer, a producer or an assignor. `message` and `event` are
    the record as it arrived: its key and value are bytes, not decoded yet. A `state` is what the
    method that began it returned.
    """

    def on_message_in(self, tp: TopicPartition, offset: int, message: Arrival) -> None:
        """A record was fetched."""

    def on_message_out(self, tp: TopicPartition, offset: int, message: Arrival) -> None:
        """Every agent on its topic is done with a record: its offset may commit."""

    def on_stream_event_in(
        self, tp: TopicPartition, offset: int, stream: str, event: Arrival
    ) -> Any:
        """An agent begins with an event; `stream` names agent and topic."""

    def on_stream_event_out(
        self, tp: TopicPartition, offset: int, stream: str, event: Arrival, state: Any = None
    ) -> None:
        """An agent is done with an event."""

    def on_topic_buffer_full(self, tp: TopicPartition) -> None:
        """So many records of a partition wait that no more are fetched for now."""

    def on_table_get(self, table: Any, key: Any) -> None:
        """A key of a declared table was read; of windows, the key is (key, start in seconds)."""

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        """A key of a declared table was written."""

    def on_table_del(self, table: Any, key: Any) -> None:
        """A key of a declared table was deleted."""

    def on_commit_initiated(self, app: Any) -> Any:
        """An epoch begins to commit."""

    def on_commit_completed(self, app: Any, state: Any) -> None:
        """The epoch has committed."""

    def on_send_initiated(
        self, app: Any, topic: str, message: Any, keysize: int, valsize: int
    ) -> Any:
        """A record is on its way: in an epoch, or sent at once. `message` is (key, value)."""

    def on_send_completed(self, app: Any, state: Any, metadata: Any) -> None:
        """The record is stored: its epoch has committed, or it was acknowledged."""

    def on_send_error(self, app: Any, exc: BaseException, state: Any) -> None:
        """The record is not stored: its epoch was aborted, or it was refused."""

    def on_assignment_start(self, app: Any) -> Any:
        """This worker leads its group, and begins to say who reads what."""

    def on_assignment_error(self, app: Any, state: Any, exc: BaseException) -> None:
        """It could not say it."""

    def on_assignment_completed(self, app: Any, state: Any) -> None:
        """It has said it."""

    def on_rebalance_start(self, app: Any) -> Any:
        """This worker is about to give partitions back, or to get some."""

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        """It knows its partitions; their tables are not ready yet."""

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """Its partitions are at work."""

    def on_web_request_start(self, app: Any, request: Any) -> Any:
        """The worker's web server has a request (Starlette's)."""

    def on_web_request_end(self, app: Any, request: Any, response: int, state: Any) -> None:
        """It has answered; `response` is the status."""

    def on_tp_commit(self, tp_offsets: dict[TopicPartition, int]) -> None:
        """These offsets were committed."""

    def track_tp_end_offset(self, tp: TopicPartition, offset: int) -> None:
        """How far a partition goes, as the last fetch told."""

    def asdict(self) -> dict[str, Any]:
        """What it has found, for people and programs."""
        return {}


class Sensors:
    """The sensors of an app. Add them where the app is declared: a task asks once, as it opens."""

    def __init__(self) -> None:
        self._all: list[Sensor] = []

    def __iter__(self) -> Iterator[Sensor]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, sensor: Sensor) -> None:
        """Have it told from now on (of events: by the tasks that open from now on)."""
        if not isinstance(sensor, Sensor):
            raise AppError(f"a sensor is an object of a subclass of fs.Sensor, not {sensor!r}")
        self._all.append(sensor)

    def remove(self, sensor: Sensor) -> None:
        """Tell it nothing more."""
        self._all.remove(sensor)

    def told(self, hook: str, *about: Any) -> None:
        """Tell every sensor."""
        for sensor in list(self._all):
            self._tell(sensor, hook, *about)

    def begun(self, hook: str, *about: Any) -> dict[Sensor, Any]:
        """Tell every sensor that something begins; what each of them returned."""
        return {sensor: self._tell(sensor, hook, *about) for sensor in list(self._all)}

    def ended(
        self, hook: str, states: dict[Sensor, Any], *before: Any, after: tuple[Any, ...] = ()
    ) -> None:
        """Tell those that heard it begin; `before` and `after` stand around the state."""
        for sensor, state in states.items():
            if sensor in self._all:
                self._tell(sensor, hook, *before, state, *after)

    def _tell(self, sensor: Sensor, hook: str, *about: Any) -> Any:
        try:
            return getattr(sensor, hook)(*about)
        except Exception:
            # What only watches must not fail an event; and it would fail for every event.
            log.exception("%s.%s raised: it is told nothing more", type(sensor).__name__, hook)
            if sensor in self._all:
                self._all.remove(sensor)
            return None
