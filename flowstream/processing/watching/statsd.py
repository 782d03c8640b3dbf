"""The monitor's counts, sent to a statsd server as they change.

Shell: one UDP socket, and a thread that asks where the server is, because a name's server may take
seconds to say so. A server that is not there costs nothing and tells nobody.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from typing import Any

from flowstream.processing.events.event import Arrival
from flowstream.processing.watching.monitor import Monitor
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")

ASK_AGAIN_S = 60.0
"""A name may come to stand for another address."""


class StatsdMonitor(Monitor):
    """A `Monitor` that tells a statsd server: `app.monitor = fs.StatsdMonitor("localhost", 8125)`.

    With `tags=True` topics, agents and tables are tags, as DogStatsD takes them, else parts of the
    metrics' names. Times are in milliseconds.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8125,
        prefix: str = "flowstream",
        rate: float = 1.0,
        *,
        tags: bool = False,
        **options: Any,
    ) -> None:
        if not 0 < rate <= 1:
            raise ValueError(
                f"rate is the share of events that are told, above 0 and up to 1: {rate}"
            )
        super().__init__(**options)
        self._target, self._prefix, self._rate, self._tags = (host, port), prefix, rate, tags
        self._every = max(1, round(1 / rate))
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._address = numeric(host, port)
        """Where the server is, None where nobody has said so yet."""
        self._asking: threading.Thread | None = None
        self._ask_at_s = float("-inf") if self._address is None else float("inf")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def on_message_in(self, tp: TopicPartition, offset: int, message: Arrival) -> None:
        """See `Sensor`."""
        super().on_message_in(tp, offset, message)
        self._sampled("messages_received", 1, "c", topic=tp.topic)

    def on_stream_event_out(
        self, tp: TopicPartition, offset: int, stream: str, event: Arrival, state: Any = None
    ) -> None:
        """See `Sensor`."""
        super().on_stream_event_out(tp, offset, stream, event, state)
        self._sampled("events_runtime", self.ms_since(state), "ms", stream=stream)

    def on_table_get(self, table: Any, key: Any) -> None:
        """See `Sensor`."""
        super().on_table_get(table, key)
        self._sampled("table_keys_retrieved", 1, "c", table=table.name)

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        """See `Sensor`."""
        super().on_table_set(table, key, value)
        self._sampled("table_keys_updated", 1, "c", table=table.name)

    def on_table_del(self, table: Any, key: Any) -> None:
        """See `Sensor`."""
        super().on_table_del(table, key)
        self._sampled("table_keys_deleted", 1, "c", table=table.name)

    def on_commit_completed(self, app: Any, state: Any) -> None:
        """See `Sensor`."""
        super().on_commit_completed(app, state)
        self._tell("commit_latency", self.ms_since(state), "ms")

    def on_send_completed(self, app: Any, state: Any, metadata: Any) -> None:
        """See `Sensor`."""
        super().on_send_completed(app, state, metadata)
        self._sampled("send_latency", self.ms_since(state), "ms", topic=metadata.topic)

    def on_send_error(self, app: Any, exc: BaseException, state: Any) -> None:
        """See `Sensor`."""
        super().on_send_error(app, exc, state)
        self._tell("send_errors", 1, "c")

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """See `Sensor`."""
        super().on_rebalance_end(app, state)
        self._tell("rebalance_end_latency", self.ms_since(state), "ms")

    def on_tp_commit(self, tp_offsets: dict[TopicPartition, int]) -> None:
        """See `Sensor`."""
        super().on_tp_commit(tp_offsets)
        for tp, offset in tp_offsets.items():
            self._tell("committed_offset", offset, "g", topic=f"{tp.topic}-{tp.partition}")

    def count(self, metric_name: str, count: int = 1) -> None:
        """Count something of your own by name."""
        super().count(metric_name, count)
        self._tell(metric_name, count, "c")

    def _sampled(self, name: str, value: float, kind: str, **about: str) -> None:
        # For each metric: of two that take turns one would never be told.
        metric = (name, *about.values())
        self._seen[metric] += 1
        if self._seen[metric] % self._every == 0:
            self._tell(name, value, f"{kind}|@{self._rate:g}" if self._every > 1 else kind, **about)

    def _tell(self, name: str, value: float, kind: str, **about: str) -> None:
        address = self._where()
        if address is None:
            return
        if self._tags:
            listed = ",".join(f"{what}:{clean(text)}" for what, text in about.items())
            line = f"{self._prefix}.{name}:{value:g}|{kind}" + (f"|#{listed}" if listed else "")
        else:
            named = ".".join([self._prefix, name, *(clean(text) for text in about.values())])
            line = f"{named}:{value:g}|{kind}"
        try:
            self._socket.sendto(line.encode(), address)
        except OSError as error:
            log.debug("statsd at %s: %s", self._target, error)

    def _where(self) -> tuple[str, int] | None:
        """The server's address as it was told last."""
        if (now := self.time()) >= self._ask_at_s:
            self._ask_at_s = now + ASK_AGAIN_S
            self._asking = threading.Thread(target=self._ask, name="flowstream-statsd", daemon=True)
            self._asking.start()
        return self._address

    def _ask(self) -> None:
        try:
            self._address = resolve(*self._target)
        except OSError as error:
            log.debug("statsd at %s: %s", self._target, error)


def resolve(host: str, port: int, flags: int = 0) -> tuple[str, int]:
    """The address of a host; OSError when nobody knows it."""
    found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM, flags=flags)
    address, number = found[0][4][:2]
    return str(address), int(number)


def numeric(host: str, port: int) -> tuple[str, int] | None:
    """The address that a host is by itself; None for a name."""
    try:
        return resolve(host, port, socket.AI_NUMERICHOST)
    except OSError:
        return None


def clean(text: str) -> str:
    """A name without what separates the parts of a metric.

    >>> clean("count <- shop.orders")
    'count_shop_orders'
    """
    kept = "".join(letter if letter.isalnum() or letter in "_-" else " " for letter in text)
    return "_".join(word for word in kept.split() if word.strip("-"))
