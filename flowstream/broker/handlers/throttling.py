"""An answer and, when its client is over a quota, the time for which nothing more of it is read
(KIP-219): the answer leaves at once and says so.

What counts are the bytes of records: almost all of what Kafka counts.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Mute, Reply
from flowstream.broker.events import Request
from flowstream.broker.quotas import FETCH, PRODUCE
from flowstream.broker.types import Instant
from flowstream.wire.messages.fetch import FetchRequest, FetchResponse
from flowstream.wire.messages.produce import ProduceRequest


def produce_throttle_ms(request: Request[ProduceRequest], cores: Cores, now: Instant) -> int:
    """Count what a Produce request brought; how long its client is to be muted."""
    if PRODUCE not in cores.quotas.limited:
        return 0
    size = sum(
        len(data.records or b"")
        for topic in request.body.topic_data
        for data in topic.partition_data
    )
    return _throttle_ms(PRODUCE, request, size, cores, now)


def fetch_max_bytes(request: Request[FetchRequest], cores: Cores) -> int:
    """How much an answer may carry: what was asked for, bounded by the broker and by the quota."""
    most = min(request.body.max_bytes, cores.config.fetch_max_bytes)
    if FETCH not in cores.quotas.limited:
        return most
    user = request.session.principal.name
    allowed = cores.quotas.most_at_once(FETCH, user, request.client_id or "")
    return most if allowed is None else min(most, allowed)


def fetched(
    request: Request[FetchRequest], response: FetchResponse, cores: Cores, now: Instant
) -> list[Effect]:
    """Answer a Fetch request, and count what the answer carries."""
    if FETCH not in cores.quotas.limited:
        return [Reply(request.to, response)]
    size = sum(
        len(data.records or b"") for topic in response.responses for data in topic.partitions
    )
    throttle_ms = _throttle_ms(FETCH, request, size, cores, now)
    if throttle_ms == 0:
        return [Reply(request.to, response)]
    told = FetchResponse(
        throttle_time_ms=throttle_ms,
        error_code=response.error_code,
        session_id=response.session_id,
        responses=response.responses,
    )
    return [Reply(request.to, told), Mute(request.to.connection, throttle_ms)]


def _throttle_ms(
    key: str,
    request: Request[ProduceRequest] | Request[FetchRequest],
    size: int,
    cores: Cores,
    now: Instant,
) -> int:
    user, client_id = request.session.principal.name, request.client_id or ""
    return cores.quotas.client_throttle_ms(key, user, client_id, size, now)
