"""Fetch within a session (KIP-227): the request names what is new or read elsewhere, the answer
what changed.

Partitions are read in the session's order; those that gave records go to its end, so that a bound
in bytes starves none. A request whose session went on meanwhile is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.fetch_sessions import FetchSession, Key, SessionPartition
from flowstream.broker.handlers.partition_data import (
    Served,
    count,
    failure,
    is_at_end,
    is_denied,
    is_urgent,
    read,
    unknown,
)
from flowstream.broker.handlers.throttling import fetch_max_bytes, fetched
from flowstream.broker.types import Instant
from flowstream.broker.waiting import Parked
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)

TOPIC_ID_VERSION = 13
TOPIC_AUTHORIZATION_FAILED = ErrorCode.TOPIC_AUTHORIZATION_FAILED

Full = Callable[[Request[FetchRequest], Cores, Instant], list[Effect]]
Told = list[tuple[SessionPartition, PartitionData]]


def handle(
    request: Request[FetchRequest], cores: Cores, now: Instant, *, instead: Full
) -> list[Effect]:
    """Continue the session; `instead` serves a request that ends it."""
    body, sessions = request.body, cores.fetch_sessions
    by_id = request.to.version >= TOPIC_ID_VERSION
    session = sessions.resume(body.session_id, body.session_epoch, now, by_id=by_id)
    if isinstance(session, ErrorCode):
        return [Reply(request.to, FetchResponse(error_code=session))]
    asked = (
        ((topic.topic, topic.topic_id, each.partition), each)
        for topic in body.topics
        for each in topic.partitions
    )
    if not sessions.change(session, asked, _forgotten(body)):
        return instead(request, cores, now)
    session.isolate(body.isolation_level)
    if request.allows is not None:
        asker = (request.session.principal, request.client_host)
        session.asked_by(*asker, at=cores.metadata_log.log_end)
    epoch = session.epoch

    def attempt(now: Instant, last: bool) -> list[Effect] | None:
        found = _attempt(request, cores, session, epoch, last=last)
        return None if found is None else fetched(request, found, cores, now)

    admitted = cores.waiting.admits()
    if admitted:
        answer = attempt(now, body.max_wait_ms <= 0)
        if answer is not None:
            return answer
    deadline = Instant(now + body.max_wait_ms)
    session.parked = Parked(request.to.connection, (), deadline, attempt)
    cores.waiting.park(session.parked, postponed=not admitted)
    return []


def _forgotten(body: FetchRequest) -> Iterable[Key]:
    for topic in body.forgotten_topics_data:
        for number in topic.partitions:
            yield topic.topic, topic.topic_id, number


def _attempt(
    request: Request[FetchRequest],
    cores: Cores,
    session: FetchSession,
    epoch: int,
    *,
    last: bool,
) -> FetchResponse | None:
    """The answer as of now; None when it is worth waiting for more."""
    if session.epoch != epoch:
        return FetchResponse(error_code=ErrorCode.INVALID_FETCH_SESSION_EPOCH)
    left = fetch_max_bytes(request, cores)
    found = denied = 0
    urgent = False
    news: Told = []
    served: Served = []
    for key in list(session.ready):
        if found >= left and found > 0:
            break  # the answer is full: the others stay ready
        partition = session.partitions[key]
        topic, topic_id, number = key
        if is_denied(request, cores, topic, topic_id):
            denied += 1
            news.append((partition, failure(partition.asked, TOPIC_AUTHORIZATION_FAILED)))
            continue
        log = cores.logs.find(topic, topic_id, number)
        if log is None:
            data = failure(partition.asked, unknown(cores, topic_id, by_id=session.by_id))
        else:
            data = read(
                log, partition.asked, left - found, session.isolation_level, first=found == 0
            )
            at_end = is_at_end(log, partition.asked, session.isolation_level)
            if at_end and not partition.is_news(data):
                cores.fetch_sessions.quiet(session, partition, log.name)
                continue
        urgent = urgent or (not data.records and is_urgent(data))
        if data.records and log is not None:
            size = len(data.records)
            found += size
            served.append((log, size))
        news.append((partition, data))
    urgent = urgent or denied == len(session.partitions)
    if urgent or last or found >= min(request.body.min_bytes, left):
        cores.memory.read += found
        count(served)
        session.parked = None
        return _answer(session, news)
    return None


def _answer(session: FetchSession, news: Told) -> FetchResponse:
    topics: dict[tuple[str, bytes], list[PartitionData]] = {}
    for partition, data in news:
        if not partition.is_news(data):
            continue  # its next batch did not fit
        partition.told(data)
        if data.records:
            session.served(partition.key)
        topics.setdefault(partition.key[:2], []).append(data)
    responses = tuple(
        FetchableTopicResponse(topic=topic, topic_id=topic_id, partitions=tuple(partitions))
        for (topic, topic_id), partitions in topics.items()
    )
    return FetchResponse(session_id=session.id, responses=responses)
