"""Restoring a table partition: its store catches up with its changelog before events run.

Shell: reads the changelog and writes the store. What to do is decided in `state.restore`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from flowstream.clock import monotonic_ms, wall_ms
from flowstream.processing.errors import StateLost
from flowstream.processing.stores.telling import Tell
from flowstream.state import restore as rules
from flowstream.state.changelog import DELETE_RETENTION_MS
from flowstream.state.store import StateStore
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import UnknownTopic
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.restore")

PROGRESS_EVERY_MS = 2_000
FETCH_BYTES = 1 << 20
"""Decoding so much at a time holds the loop for some 30 ms; others may be working."""


@dataclass(slots=True)
class Progress:
    """How far the restores of one assignment are; one line every two seconds."""

    total: int = 0
    done: int = 0
    rows: int = 0
    began_ms: int = 0
    told_ms: int = 0

    def expect(self, records: int) -> None:
        """A restore will read this many offsets."""
        if not self.began_ms:
            self.began_ms = self.told_ms = monotonic_ms()
        self.total += records

    def advance(self, offsets: int, rows: int) -> None:
        """A restore moved on."""
        self.done += offsets
        self.rows += rows
        now = monotonic_ms()
        if now - self.told_ms >= PROGRESS_EVERY_MS:
            self.told_ms = now
            self.tell(now)

    def tell(self, now: int) -> None:
        """One line: share, rate, time left."""
        log.info(
            "restoring tables: %d%% (%d of %d), %.0f records/s, %.0f s left",
            self.share, self.done, self.total, self.rate(now), self.left_s(now),
        )  # fmt: skip

    @property
    def share(self) -> int:
        """Percent that is done."""
        return 100 * self.done // max(self.total, 1)

    def rate(self, now: int) -> float:
        """Records per second so far."""
        return self.done / (max(now - self.began_ms, 1) / 1000)

    def left_s(self, now: int) -> float:
        """Seconds that the rest takes at this rate; 0 while nothing is known."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate else 0.0


async def restore(
    store: StateStore,
    cluster: Cluster,
    admin: Admin,
    changelog: TopicPartition,
    *,
    table: str,
    progress: Progress,
    tell: Tell | None = None,
) -> None:
    """Bring a store up to the changelog's high watermark of now (S4); StateLost when it cannot be.

    Call it after the stable committed offsets are known: what they cover is below the watermark.
    """
    described = (await admin.topics([changelog.topic])).get(changelog.topic)
    topic_id = described.topic_id if described is not None else b""
    # Before a plan clears what may be the last copy of rows that another changelog had.
    refuse_other(store, topic_id, changelog, table)
    plan = await _plan(store, admin, changelog, table)
    if store.lineage is None and any(topic_id):
        store.descend(topic_id)
    await replay(store, cluster, changelog, plan, progress, tell)


def refuse_other(store: StateStore, topic_id: bytes, changelog: TopicPartition, table: str) -> None:
    """A changelog of the same name may be another one: its offsets would be taken for those of the
    first, and rows that are in neither would stay. A cluster that has no ids does not tell.
    """
    if any(topic_id) and store.lineage not in (None, topic_id):
        raise StateLost(
            f"table {table!r}, partition {changelog.partition}: the changelog {changelog.topic!r}"
            " was deleted and made anew since this worker's store was built from it. If the new one"
            " is what you want, delete the store's directory (below the app's state directory) to"
            " build it anew; else bring the old one back"
        )


async def replay(
    store: StateStore,
    cluster: Cluster,
    changelog: TopicPartition,
    plan: rules.RestorePlan,
    progress: Progress,
    tell: Tell | None = None,
) -> None:
    """Write what a plan says to read into a store; `tell` is told of each record."""
    progress.expect(plan.end - plan.start)
    reader = PartitionReader(cluster, changelog, plan.start, max_bytes=FETCH_BYTES)
    chunk = rules.Chunk()
    while not plan.done(reader.position):
        before = reader.position
        records = await reader.read()
        chunk.add(records, reader.read_bytes)
        progress.advance(reader.position - before, len(records))
        if tell is not None:
            await tell(changelog, records)
        if chunk.full:
            store.write(chunk.take(), changelog_offset=reader.position, caught_up=False)
    # Without rows too: from now on the store is current, and misses no deletion from before.
    store.write(chunk.take(), changelog_offset=reader.position)


async def holds_records(
    cluster: Cluster, admin: Admin, changelog: TopicPartition, *, table: str
) -> bool:
    """Whether a changelog has a committed record; those of aborted transactions do not count."""
    plan = await changelog_ends(admin, changelog, table)
    reader = PartitionReader(cluster, changelog, plan.start)
    while not plan.done(reader.position):
        if await reader.read():
            return True
    return False


async def _plan(
    store: StateStore, admin: Admin, changelog: TopicPartition, table: str
) -> rules.RestorePlan:
    decided = await decide(store, admin, changelog, table)
    if isinstance(decided, rules.Refuse):
        raise StateLost(f"table {table!r}, partition {changelog.partition}: {decided.reason}")
    if isinstance(decided, rules.Rebuild):
        log.warning(
            "table %r, partition %d is rebuilt: %s", table, changelog.partition, decided.reason
        )
        store.clear()
        return decided.plan
    return decided


async def decide(
    store: StateStore, admin: Admin, changelog: TopicPartition, table: str
) -> rules.RestorePlan | rules.Rebuild | rules.Refuse:
    """What a store needs to be what its changelog says now."""
    ends = await changelog_ends(admin, changelog, table)
    written = store.written_ms
    retention = await delete_retention_ms(admin, changelog.topic)
    return rules.plan(
        store.changelog_offset,
        ends.start,
        ends.end,
        missed_ms=None if written is None else wall_ms() - written,
        delete_retention_ms=retention,
    )


async def changelog_ends(admin: Admin, changelog: TopicPartition, table: str) -> rules.RestorePlan:
    """All that the changelog holds now."""
    try:
        start = (await admin.beginning_offsets([changelog]))[changelog]
        end = (await admin.end_offsets([changelog]))[changelog]
    except UnknownTopic as error:
        raise StateLost(
            f"the changelog {changelog.topic!r} of table {table!r} is gone: restore the topic, or"
            " delete the app's state directory and reset its offsets to start over"
        ) from error
    return rules.RestorePlan(start, end)


async def delete_retention_ms(admin: Admin, changelog: str) -> int:
    """How long the changelog keeps deletions now: an operator may have changed it."""
    found = (await admin.topic_settings([changelog], "delete.retention.ms")).get(changelog)
    if found is not None:
        return int(found)
    log.warning(
        "the cluster does not tell delete.retention.ms of %s: taking %d ms, as it was created with."
        " Allow the worker's user to describe the topic's configuration",
        changelog, DELETE_RETENTION_MS,
    )  # fmt: skip
    return DELETE_RETENTION_MS
