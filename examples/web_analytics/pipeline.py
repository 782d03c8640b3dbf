"""The pipeline: lines of an access log in; sessions, hourly pages, statuses, bursts, bots out.

Run: `flowstream worker -A examples.web_analytics.pipeline`. Event time is that of the log, which is
up to a minute out of order; each result is told once, when nothing can change it any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import flowstream as fs

from .models import Counted, Hit, Referral, Session

PARTITIONS = 4
FOREVER = {"retention.ms": "-1"}  # the log is old: keep it all the same
SESSION_GAP = 1800
HOUR, HALF_HOUR, FIVE_MINUTES, MINUTE = 3600, 1800, 300, 60
BURST = 2  # failed requests in five minutes
BOT = 20  # requests in a minute
DISORDER = 60

app = fs.App("web-analytics")

lines = app.topic(
    "access-lines", key_type=str, value_type=str, partitions=PARTITIONS, config=FOREVER
)
hits = app.topic(
    "hits", key_type=str, value_type=Hit, partitions=PARTITIONS, config=FOREVER,
    timestamp="at", out_of_orderness=DISORDER,
)  # fmt: skip
kinds = app.topic(
    "referrer-kinds", key_type=str, value_type=str, partitions=PARTITIONS, config=FOREVER
)
sessions = app.topic(
    "sessions", key_type=str, value_type=Session, partitions=PARTITIONS, config=FOREVER
)
pages = app.topic("pages", key_type=str, value_type=Counted, partitions=PARTITIONS, config=FOREVER)
statuses = app.topic(
    "statuses", key_type=str, value_type=Counted, partitions=PARTITIONS, config=FOREVER
)
bursts = app.topic(
    "bursts", key_type=str, value_type=Counted, partitions=PARTITIONS, config=FOREVER
)
bots = app.topic("bots", key_type=str, value_type=Counted, partitions=PARTITIONS, config=FOREVER)
referrals = app.topic(
    "referrals", key_type=str, value_type=Referral, partitions=PARTITIONS, config=FOREVER
)

referrers = app.table(kinds, name="referrers")


@app.agent(lines, sink=[hits], on_error="dead_letter")
async def parse(stream: fs.Stream[str]) -> AsyncIterator[Hit]:
    """Lines become hits; a malformed one becomes a dead letter that says why."""
    async for line in stream:
        yield Hit.of_line(line)


@app.agent(hits, sink=[sessions])
async def visits(stream: fs.Stream[Hit]) -> AsyncIterator[Session]:
    """What each visitor did without a long pause."""
    async for visit in stream.session(SESSION_GAP).aggregate(
        pages=fs.Count(),
        bytes=fs.Sum("size"),
        first=fs.Min(lambda hit: (hit.at, hit.referrer), type=tuple[float, str]),
    ):
        seconds = visit.end - SESSION_GAP - visit.start
        pages, size = visit.value["pages"], visit.value["bytes"]
        yield Session(visit.key, visit.start, seconds, pages, size, visit.value["first"][1])


@app.agent(hits, sink=[pages])
async def popular(stream: fs.Stream[Hit]) -> AsyncIterator[Counted]:
    """How often each page was asked for in each hour; a new hour begins every half."""
    by_path = stream.group_by("path", key_type=str)
    async for window in by_path.hopping(HOUR, HALF_HOUR).count():
        yield Counted(window.key, window.start, window.value)


@app.agent(hits, sink=[statuses])
async def health(stream: fs.Stream[Hit]) -> AsyncIterator[Counted]:
    """How many requests ended how, in each five minutes."""
    by_status = stream.group_by(lambda hit: f"{hit.status // 100}xx", key_type=str)
    async for window in by_status.tumbling(FIVE_MINUTES).count():
        yield Counted(window.key, window.start, window.value)


@app.agent(statuses, sink=[bursts])
async def alarm(stream: fs.Stream[Counted]) -> AsyncIterator[Counted]:
    """Bursts of failures go to whoever is on duty."""
    async for counted in stream:
        if counted.what == "5xx" and counted.count >= BURST:
            yield counted


@app.agent(hits, sink=[bots])
async def robots(stream: fs.Stream[Hit]) -> AsyncIterator[Counted]:
    """Visitors that ask faster than people read."""
    async for window in stream.tumbling(MINUTE).count():
        if window.value >= BOT:
            yield Counted(window.key, window.start, window.value)


@app.agent(sessions, sink=[referrals])
async def origins(stream: fs.Stream[Session]) -> AsyncIterator[Referral]:
    """Each session with the kind of site that it came from."""
    by_referrer = stream.group_by("referrer", key_type=str)
    async for session, kind in by_referrer.join(referrers, how="left"):
        yield Referral(session.visitor, session.start, kind or "other")
