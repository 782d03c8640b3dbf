"""Fetch (1): read record batches, waiting for a minimum of bytes or a maximum of time.

4 adds isolation levels with the aborted transactions; 7 fetch sessions (KIP-227), whose incremental
requests `incremental_fetch` serves; 9 the reader's leader epoch (KIP-320); 10 allows zstd; 12 tells
a reader where its last epoch ended (KIP-595); 13 names topics by id; 15 moves the replica id into a
tag.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.fetch_sessions import FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION
from flowstream.broker.handlers import incremental_fetch
from flowstream.broker.handlers.partition_data import (
    Served,
    count,
    failure,
    is_denied,
    is_urgent,
    read,
    unknown,
)
from flowstream.broker.handlers.throttling import fetch_max_bytes, fetched
from flowstream.broker.types import Instant
from flowstream.broker.waiting import Parked
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.fetch import FetchableTopicResponse, FetchRequest, FetchResponse

TOPIC_ID_VERSION = 13


def handle(request: Request[FetchRequest], cores: Cores, now: Instant) -> list[Effect]:
    """A full fetch, which may open a session, or the next one of a session."""
    body = request.body
    if body.session_epoch not in (INITIAL_EPOCH, FINAL_EPOCH):
        return incremental_fetch.handle(request, cores, now, instead=full)
    if body.session_id != NO_SESSION:
        cores.fetch_sessions.close(body.session_id)
    return full(request, cores, now, opens=body.session_epoch == INITIAL_EPOCH)


def full(
    request: Request[FetchRequest], cores: Cores, now: Instant, *, opens: bool = False
) -> list[Effect]:
    """Answer at once when there is enough, an error, or no wait asked; else park the request. So
    does one for whose answer this turn has no room (X3).
    """
    body = request.body

    def attempt(now: Instant, last: bool) -> list[Effect] | None:
        found = _attempt(request, cores, last=last)
        if found is None:
            return None
        if opens:
            found = _opened(request, cores, found, now)
        return fetched(request, found, cores, now)

    admitted = cores.waiting.admits()
    if admitted:
        answer = attempt(now, body.max_wait_ms <= 0)
        if answer is not None:
            return answer
    names = tuple(
        log.name
        for topic in body.topics
        for asked in topic.partitions
        if (log := cores.logs.find(topic.topic, topic.topic_id, asked.partition)) is not None
    )
    deadline = Instant(now + body.max_wait_ms)
    parked = Parked(request.to.connection, names, deadline, attempt)
    cores.waiting.park(parked, postponed=not admitted)
    return []


def _attempt(request: Request[FetchRequest], cores: Cores, *, last: bool) -> FetchResponse | None:
    """The answer as of now; None when it is worth waiting for more."""
    body = request.body
    by_id = request.to.version >= TOPIC_ID_VERSION
    left = fetch_max_bytes(request, cores)
    found = 0
    urgent = False
    readable = 0
    served: Served = []
    responses = []
    for topic in body.topics:
        partitions = []
        denied = is_denied(request, cores, topic.topic, topic.topic_id)
        readable += not denied
        for asked in topic.partitions:
            if denied:
                partitions.append(failure(asked, ErrorCode.TOPIC_AUTHORIZATION_FAILED))
                continue
            log = cores.logs.find(topic.topic, topic.topic_id, asked.partition)
            if log is None:
                data = failure(asked, unknown(cores, topic.topic_id, by_id=by_id))
            else:
                data = read(log, asked, left - found, body.isolation_level, first=found == 0)
            urgent = urgent or (not data.records and is_urgent(data))
            if data.records and log is not None:
                size = len(data.records)
                found += size
                served.append((log, size))
            partitions.append(data)
        responses.append(
            FetchableTopicResponse(
                topic=topic.topic, topic_id=topic.topic_id, partitions=tuple(partitions)
            )
        )
    if urgent or last or found >= min(body.min_bytes, left) or not readable:
        cores.memory.read += found
        count(served)
        return FetchResponse(responses=tuple(responses))
    return None


def _opened(
    request: Request[FetchRequest], cores: Cores, response: FetchResponse, now: Instant
) -> FetchResponse:
    """The same answer with the session that begins with it, should there be room for one."""
    body = request.body
    told = (
        ((topic.topic, topic.topic_id, asked.partition), asked, data)
        for topic, answer in zip(body.topics, response.responses, strict=True)
        for asked, data in zip(topic.partitions, answer.partitions, strict=True)
    )
    session_id = cores.fetch_sessions.open(
        told,
        cores.rng,
        now,
        by_id=request.to.version >= TOPIC_ID_VERSION,
        isolation_level=body.isolation_level,
    )
    return FetchResponse(session_id=session_id, responses=response.responses)
