"""An answer and, when its client is over a quota, the time for which nothing more of it is read
(KIP-219): the answer leaves at once and says so.

What counts are whole requests and answers, as in Kafka; and the partitions of topics that are
created, grown and deleted (KIP-599).
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Mute, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.plan import Refusal
from flowstream.broker.quotas import FETCH, MUTATE, PRODUCE
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import encode_response
from flowstream.wire.messages.fetch import FetchRequest, FetchResponse
from flowstream.wire.messages.produce import ProduceRequest


def produce_throttle_ms(request: Request[ProduceRequest], cores: Cores, now: Instant) -> int:
    """Count what a Produce request brought; how long its client is to be muted."""
    if PRODUCE not in cores.quotas.limited:
        return 0
    return _throttle_ms(PRODUCE, request, request.size, cores, now)


def fetch_max_bytes(request: Request[FetchRequest], cores: Cores) -> int:
    """How much an answer may carry: what was asked for, bounded by the broker, by the memory that
    connections may hold together, and by the quota.
    """
    most = min(request.body.max_bytes, cores.config.fetch_max_bytes, cores.memory.answer_room)
    if FETCH not in cores.quotas.limited:
        return most
    allowed = cores.quotas.most_at_once(FETCH, *_client(request))
    return most if allowed is None else min(most, allowed)


def fetched(
    request: Request[FetchRequest], response: FetchResponse, cores: Cores, now: Instant
) -> list[Effect]:
    """Answer a Fetch request, and count what the answer carries."""
    if FETCH not in cores.quotas.limited:
        return [Reply(request.to, response)]
    to = request.to
    answer = encode_response(to.api_key, to.version, to.correlation_id, response)
    throttle_ms = _throttle_ms(FETCH, request, sum(map(len, answer)), cores, now)
    if throttle_ms == 0:
        return [Reply(request.to, response)]
    told = FetchResponse(
        throttle_time_ms=throttle_ms,
        error_code=response.error_code,
        session_id=response.session_id,
        responses=response.responses,
    )
    return [Reply(request.to, told), Mute(request.to.connection, throttle_ms)]


class Mutations:
    """What a request may change of topics. `throttle_ms` is for how long its client has to wait
    afterwards: in the strict versions what would be more is refused, in older ones it is done.
    """

    def __init__(self, request: Request[object], cores: Cores, now: Instant, *, strict: bool):
        self.throttle_ms = 0
        self._request = request
        self._quotas = cores.quotas
        self._now = now
        self._strict = strict

    def charge(self, partitions: int) -> None:
        """Count partitions that are about to change. Raises Refusal."""
        if MUTATE not in self._quotas.limited:
            return
        user, client_id = _client(self._request)
        throttle_ms = self._quotas.mutation_throttle_ms(
            user, client_id, partitions, self._now, strict=self._strict
        )
        self.throttle_ms = max(self.throttle_ms, throttle_ms)
        if self._strict and throttle_ms:
            raise Refusal(
                ErrorCode.THROTTLING_QUOTA_EXCEEDED, "The throttling quota has been exceeded."
            )

    def muted(self) -> list[Effect]:
        """What is to be done beside the answer."""
        connection = self._request.to.connection
        return [Mute(connection, self.throttle_ms)] if self.throttle_ms else []


def _client(request: Request[object]) -> tuple[str, str]:
    return request.session.principal.name, request.client_id or ""


def _throttle_ms(
    key: str,
    request: Request[ProduceRequest] | Request[FetchRequest],
    size: int,
    cores: Cores,
    now: Instant,
) -> int:
    user, client_id = _client(request)
    return cores.quotas.client_throttle_ms(key, user, client_id, size, now)
