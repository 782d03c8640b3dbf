"""The loop's time by client, while anybody has a quota of it (`request_percentage`, KIP-124).

Kafka counts the time of its request and network threads. Here one loop does both: what it takes to
decide about a request counts for its client at once, and what a turn takes to write and to send
is shared out among the requests of the turn. Decoding a request is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

from flowstream.broker.events import Request
from flowstream.broker.quotas import Quotas
from flowstream.broker.types import ConnectionId, Instant


class Metering:
    """Who asked in this turn, and who is over the quota."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._turn: list[Request[object]] = []
        self._throttled: dict[ConnectionId, int] = {}

    @property
    def has_requests(self) -> bool:
        """Whether the time of this turn is to be shared out."""
        return bool(self._turn)

    def handled(self, request: Request[object], spent_ns: int, now: Instant) -> int:
        """A request was decided about; how long its client is to be muted, in milliseconds."""
        self._turn.append(request)
        return self._charge(request, spent_ns, now)

    def ended(self, spent_ns: int, now: Instant) -> Iterator[tuple[ConnectionId, int]]:
        """The turn's writes and answers took so long; whom to mute, and how long."""
        turn, self._turn = self._turn, []
        for request in turn:
            throttle_ms = self._charge(request, spent_ns // len(turn), now)
            if throttle_ms:
                yield request.to.connection, throttle_ms

    def told(self, connection: ConnectionId, body: Any) -> Any:
        """An answer that says for how long its client is muted; most of Kafka's can."""
        throttle_ms = self._throttled.get(connection, 0)
        if throttle_ms <= getattr(body, "throttle_time_ms", throttle_ms):
            return body
        told = copy(body)
        told.throttle_time_ms = throttle_ms
        return told

    def gone(self, connection: ConnectionId) -> None:
        """The connection is closed."""
        self._throttled.pop(connection, None)

    def _charge(self, request: Request[object], spent_ns: int, now: Instant) -> int:
        user, client_id = request.session.principal.name, request.client_id or ""
        throttle_ms = self._quotas.time_throttle_ms(user, client_id, spent_ns, now)
        if throttle_ms:
            self._throttled[request.to.connection] = throttle_ms
        else:
            self._throttled.pop(request.to.connection, None)
        return throttle_ms
