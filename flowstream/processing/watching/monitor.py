"""The monitor: a sensor that counts, and remembers how long things took."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from statistics import median
from typing import Any

from flowstream.clock import monotonic_ns
from flowstream.processing.events.event import Arrival
from flowstream.processing.watching.sensors import Sensor
from flowstream.transport.types import TopicPartition

Offsets = dict[TopicPartition, int]
STATUSES = {int(each): each for each in HTTPStatus}


def _seconds() -> float:
    return monotonic_ns() / 1e9


@dataclass(slots=True)
class TableState:
    """What was done to a table."""

    keys_retrieved: int = 0
    keys_updated: int = 0
    keys_deleted: int = 0


class Rate:
    """How often something happened in the last whole second."""

    __slots__ = ("_before", "_now", "_second")

    def __init__(self) -> None:
        self._second = self._now = self._before = 0

    def add(self, at_s: float) -> None:
        """It happened."""
        self._turn(int(at_s))
        self._now += 1

    def at(self, at_s: float) -> int:
        """How often it happened in the second before this one."""
        self._turn(int(at_s))
        return self._before

    def _turn(self, second: int) -> None:
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0


class Monitor(Sensor):
    """Counts of messages, events, sends, commits, rebalances and table reads, and how long they
    took (in seconds; the last so many of each). `app.monitor` makes one and installs it.
    """

    def __init__(
        self,
        *,
        max_avg_history: int = 100,
        max_commit_latency_history: int = 30,
        max_send_latency_history: int = 30,
        max_assignment_latency_history: int = 30,
        time: Callable[[], float] = _seconds,
    ) -> None:
        self.time = time
        self.max_avg_history = max_avg_history
        self.max_commit_latency_history = max_commit_latency_history
        self.max_send_latency_history = max_send_latency_history
        self.max_assignment_latency_history = max_assignment_latency_history
        self.tables: dict[str, TableState] = {}
        self.messages_active = self.messages_received_total = self.messages_sent = 0
        self.messages_received_by_topic: Counter[str] = Counter()
        self.messages_sent_by_topic: Counter[str] = Counter()
        self.events_active = self.events_total = self.send_errors = 0
        self.events_by_stream: Counter[str] = Counter()
        self.events_by_task: Counter[str] = Counter()
        self.events_runtime: deque[float] = deque(maxlen=max_avg_history)
        self.commit_latency: deque[float] = deque(maxlen=max_commit_latency_history)
        self.send_latency: deque[float] = deque(maxlen=max_send_latency_history)
        self.assignment_latency: deque[float] = deque(maxlen=max_assignment_latency_history)
        self.assignments_completed = self.assignments_failed = self.rebalances = 0
        self.rebalance_return_latency: deque[float] = deque(maxlen=max_avg_history)
        self.rebalance_end_latency: deque[float] = deque(maxlen=max_avg_history)
        self.http_response_codes: Counter[HTTPStatus | int] = Counter()
        self.http_response_latency: deque[float] = deque(maxlen=max_avg_history)
        self.topic_buffer_full: Counter[TopicPartition] = Counter()
        self.metric_counts: Counter[str] = Counter()
        self.tp_committed_offsets: Offsets = {}
        self.tp_read_offsets: Offsets = {}
        self.tp_end_offsets: Offsets = {}
        self.stream_inbound_time: dict[TopicPartition, float] = {}
        self._events, self._messages = Rate(), Rate()

    # -- what it knows --------------------------------------------------------------------------

    @property
    def messages_s(self) -> int:
        """Messages received in the last whole second."""
        return self._messages.at(self.time())

    @property
    def events_s(self) -> int:
        """Events begun in the last whole second."""
        return self._events.at(self.time())

    @property
    def events_runtime_avg(self) -> float:
        """How long an agent takes for an event: the median of the last ones."""
        return _median(self.events_runtime)

    @property
    def rebalance_return_avg(self) -> float:
        """How long a rebalance takes until the partitions are known: the median."""
        return _median(self.rebalance_return_latency)

    @property
    def rebalance_end_avg(self) -> float:
        """How long a rebalance takes until everything is at work: the median."""
        return _median(self.rebalance_end_latency)

    @property
    def http_response_latency_avg(self) -> float:
        """How long the web server takes to answer: the median of the last ones."""
        return _median(self.http_response_latency)

    def secs_since(self, start_time: float) -> float:
        """Seconds since a time of this monitor's clock."""
        return self.time() - start_time

    def ms_since(self, start_time: float) -> float:
        """Milliseconds since a time of this monitor's clock."""
        return self.secs_to_ms(self.secs_since(start_time))

    def secs_to_ms(self, timestamp: float) -> float:
        """Seconds as milliseconds."""
        return timestamp * 1000.0

    def count(self, metric_name: str, count: int = 1) -> None:
        """Count something of your own by name."""
        self.metric_counts[metric_name] += count

    def asdict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        plain = (
            "messages_active", "messages_received_total", "messages_sent", "messages_s",
            "events_active", "events_total", "events_s", "events_runtime_avg", "send_errors",
            "assignments_completed", "assignments_failed", "rebalances", "rebalance_return_avg",
            "rebalance_end_avg", "http_response_latency_avg",
        )  # fmt: skip
        counted = ("messages_received_by_topic", "messages_sent_by_topic", "events_by_stream",
                   "events_by_task", "metric_counts")  # fmt: skip
        timed = ("commit_latency", "send_latency", "assignment_latency", "rebalance_return_latency",
                 "rebalance_end_latency", "http_response_latency")  # fmt: skip
        return {
            "http_response_codes": {int(k): n for k, n in self.http_response_codes.items()},
            **{name: getattr(self, name) for name in plain},
            **{name: dict(getattr(self, name)) for name in counted},
            **{name: list(getattr(self, name)) for name in timed},
            "topic_buffer_full": _by_topic(self.topic_buffer_full),
            "topic_committed_offsets": _by_topic(self.tp_committed_offsets),
            "topic_read_offsets": _by_topic(self.tp_read_offsets),
            "topic_end_offsets": _by_topic(self.tp_end_offsets),
            "tables": {name: asdict(state) for name, state in self.tables.items()},
        }

    # -- what it is told ------------------------------------------------------------------------

    def on_message_in(self, tp: TopicPartition, offset: int, message: Arrival) -> None:
        """See `Sensor`."""
        del message
        self.messages_received_total += 1
        self.messages_active += 1
        self.messages_received_by_topic[tp.topic] += 1
        self.tp_read_offsets[tp] = offset
        self._messages.add(self.time())

    def on_message_out(self, tp: TopicPartition, offset: int, message: Arrival) -> None:
        """See `Sensor`."""
        del tp, offset, message
        self.messages_active -= 1

    def on_stream_event_in(
        self, tp: TopicPartition, offset: int, stream: str, event: Arrival
    ) -> float:
        """See `Sensor`."""
        del offset, event
        now = self.time()
        self.events_total += 1
        self.events_active += 1
        self.events_by_stream[stream] += 1
        self.events_by_task[f"{stream}-{tp.partition}"] += 1
        self.stream_inbound_time[tp] = now
        self._events.add(now)
        return now

    def on_stream_event_out(
        self, tp: TopicPartition, offset: int, stream: str, event: Arrival, state: Any = None
    ) -> None:
        """See `Sensor`."""
        del tp, offset, stream, event
        self.events_active -= 1
        self.events_runtime.append(self.secs_since(state))

    def on_topic_buffer_full(self, tp: TopicPartition) -> None:
        """See `Sensor`."""
        self.topic_buffer_full[tp] += 1

    def on_table_get(self, table: Any, key: Any) -> None:
        """See `Sensor`."""
        del key
        self._of(table).keys_retrieved += 1

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        """See `Sensor`."""
        del key, value
        self._of(table).keys_updated += 1

    def on_table_del(self, table: Any, key: Any) -> None:
        """See `Sensor`."""
        del key
        self._of(table).keys_deleted += 1

    def _of(self, table: Any) -> TableState:
        return self.tables.setdefault(table.name, TableState())

    def on_commit_initiated(self, app: Any) -> float:
        """See `Sensor`."""
        del app
        return self.time()

    def on_commit_completed(self, app: Any, state: Any) -> None:
        """See `Sensor`."""
        del app
        self.commit_latency.append(self.secs_since(state))

    def on_send_initiated(
        self, app: Any, topic: str, message: Any, keysize: int, valsize: int
    ) -> float:
        """See `Sensor`."""
        del app, message, keysize, valsize
        self.messages_sent += 1
        self.messages_sent_by_topic[topic] += 1
        return self.time()

    def on_send_completed(self, app: Any, state: Any, metadata: Any) -> None:
        """See `Sensor`."""
        del app, metadata
        self.send_latency.append(self.secs_since(state))

    def on_send_error(self, app: Any, exc: BaseException, state: Any) -> None:
        """See `Sensor`."""
        del app, exc, state
        self.send_errors += 1

    def on_assignment_start(self, app: Any) -> float:
        """See `Sensor`."""
        del app
        return self.time()

    def on_assignment_error(self, app: Any, state: Any, exc: BaseException) -> None:
        """See `Sensor`."""
        del app, exc
        self.assignment_latency.append(self.secs_since(state))
        self.assignments_failed += 1

    def on_assignment_completed(self, app: Any, state: Any) -> None:
        """See `Sensor`."""
        del app
        self.assignment_latency.append(self.secs_since(state))
        self.assignments_completed += 1

    def on_rebalance_start(self, app: Any) -> float:
        """See `Sensor`. What was known of partitions is of others now."""
        del app
        self.rebalances += 1
        self._forget_partitions()
        return self.time()

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        """See `Sensor`."""
        del app
        self.rebalance_return_latency.append(self.secs_since(state))

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """See `Sensor`."""
        del app
        self.rebalance_end_latency.append(self.secs_since(state))

    def on_web_request_start(self, app: Any, request: Any) -> float:
        """See `Sensor`."""
        del app, request
        return self.time()

    def on_web_request_end(self, app: Any, request: Any, response: int, state: Any) -> None:
        """See `Sensor`."""
        del app, request
        self.http_response_latency.append(self.secs_since(state))
        # An HTTPStatus is its number; a page may answer one that has no name.
        self.http_response_codes[STATUSES.get(response, response)] += 1

    def on_tp_commit(self, tp_offsets: Offsets) -> None:
        """See `Sensor`."""
        self.tp_committed_offsets.update(tp_offsets)

    def track_tp_end_offset(self, tp: TopicPartition, offset: int) -> None:
        """See `Sensor`."""
        self.tp_end_offsets[tp] = offset

    def _forget_partitions(self) -> None:
        # What was fetched of partitions that are given back is fetched again by whoever is next.
        self.messages_active = self.events_active = 0
        for known in (self.tp_committed_offsets, self.tp_read_offsets, self.tp_end_offsets,
                      self.topic_buffer_full, self.stream_inbound_time):  # fmt: skip
            known.clear()


def _median(values: deque[float]) -> float:
    return median(values) if values else 0.0


def _by_topic(offsets: dict[TopicPartition, int] | Counter[TopicPartition]) -> dict[str, Any]:
    found: dict[str, dict[int, int]] = {}
    for tp, offset in offsets.items():
        found.setdefault(tp.topic, {})[tp.partition] = offset
    return found
