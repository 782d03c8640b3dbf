"""Fetch sessions (KIP-227): what a reader asked before and was told, so that it need not say it
again and is told only what changed.

Soft state, gone after a restart. A session's partition is *quiet* when reading it would give
nothing new: no records, no error, the watermarks as told. Only the others, `ready`, are looked at,
and a quiet one is ready again when it moves on or the reader asks for another place: an idle fetch
costs what it says, not what the session holds. Reading is the handler's affair.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowstream.broker.doors import Random
from flowstream.broker.types import Instant, Principal, TopicPartition
from flowstream.broker.waiting import Parked, Waiting
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.fetch import FetchPartition, PartitionData

Key = tuple[str, bytes, int]
"""A partition as the reader names it: topic name or id (the other one is empty), number."""

NO_SESSION = 0
INITIAL_EPOCH = 0
"""Asks for a new session."""
FINAL_EPOCH = -1
"""Asks for none."""

EVICTION_MS = 120_000
"""A session unused for so long makes room, and one younger than that is not evicted otherwise."""

PARTITIONS = 200_000
"""Partitions that all sessions together may hold (X3); Kafka bounds the sessions alone."""

UNKNOWN = -1
_LAST_EPOCH = 2**31 - 1


class SessionPartition:
    """What a session knows of one partition: where to read, and what the reader was told."""

    __slots__ = ("asked", "high_watermark", "key", "log_start", "watched")

    def __init__(self, key: Key, asked: FetchPartition) -> None:
        """A partition that the reader was told nothing of."""
        self.key = key
        self.asked = asked
        self.high_watermark = UNKNOWN
        self.log_start = UNKNOWN
        self.watched: TopicPartition | None = None
        """The log that makes it ready again."""

    def is_news(self, data: PartitionData) -> bool:
        """Whether the reader must be told `data`."""
        return bool(
            data.records
            or data.error_code
            or data.diverging_epoch.epoch >= 0
            or data.high_watermark != self.high_watermark
            or data.log_start_offset != self.log_start
        )

    def told(self, data: PartitionData) -> None:
        """The reader is told `data`. After an error it is told the watermarks again."""
        self.high_watermark = UNKNOWN if data.error_code else data.high_watermark
        self.log_start = data.log_start_offset


class FetchSession:
    """One reader's session. Invariant: what is not in `ready` is quiet and watched."""

    __slots__ = (
        "asker",
        "by_id",
        "created",
        "epoch",
        "id",
        "isolation_level",
        "parked",
        "partitions",
        "ready",
        "used",
    )

    def __init__(self, id: int, *, by_id: bool, isolation_level: int, now: Instant) -> None:
        """An empty session whose next request has epoch 1."""
        self.id = id
        self.by_id = by_id
        """Whether topics are named by id: a session keeps to one way."""
        self.created = self.used = now
        self.epoch = 1
        self.isolation_level = isolation_level
        self.partitions: dict[Key, SessionPartition] = {}
        self.asker: tuple[Principal, str, int] | None = None
        """Whose permissions were looked at, and when; None without security."""
        self.ready: dict[Key, None] = {}
        """What may have news, in the order in which it is read."""
        self.parked: Parked | None = None
        """The request of this session that waits, to be looked at when a partition moves."""

    def ask(self, key: Key, asked: FetchPartition) -> SessionPartition:
        """The reader names a partition: a new one, or another place in it."""
        partition = self.partitions.get(key)
        if partition is None:
            partition = self.partitions[key] = SessionPartition(key, asked)
        partition.asked = asked
        self.ready[key] = None
        return partition

    def isolate(self, level: int) -> None:
        """Read at another isolation level: what was quiet at the old one need not be."""
        if level != self.isolation_level:
            self.isolation_level = level
            self.ready = dict.fromkeys(self.partitions)

    def asked_by(self, principal: Principal, host: str, *, at: int) -> None:
        """Who asks, under the rules as they were `at` this end of the metadata log. When either is
        another than before, what is quiet may be forbidden by now, or allowed.
        """
        if self.asker != (principal, host, at):
            self.asker = (principal, host, at)
            self.ready = dict.fromkeys(self.partitions)

    def moved(self, partition: TopicPartition, key: Key) -> Parked | None:
        """A watched partition has new data or is gone. The request that waits for it."""
        if key in self.partitions:
            self.ready[key] = None
        return self.parked

    def served(self, key: Key) -> None:
        """The reader got records: the others come first next time."""
        del self.ready[key]
        self.ready[key] = None


class FetchSessions:
    """All sessions of a broker, bounded as in Kafka: see `_make_room`."""

    def __init__(self, slots: int, waiting: Waiting) -> None:
        """At most `slots` sessions; `waiting` tells which partitions move."""
        self._slots = slots
        self._waiting = waiting
        self._by_id: dict[int, FetchSession] = {}
        """In the order of their last use."""
        self.partitions = 0
        """Number of partitions in all sessions."""

    def __len__(self) -> int:
        return len(self._by_id)

    def open(
        self,
        told: Iterable[tuple[Key, FetchPartition, PartitionData]],
        rng: Random,
        now: Instant,
        *,
        by_id: bool,
        isolation_level: int,
    ) -> int:
        """A new session with everything that a full fetch told; its id, or NO_SESSION when there
        is no room.
        """
        session = FetchSession(NO_SESSION, by_id=by_id, isolation_level=isolation_level, now=now)
        for key, asked, data in told:
            session.ask(key, asked).told(data)
        size = len(session.partitions)
        if self.partitions + size > PARTITIONS or not self._make_room(size, now):
            return NO_SESSION
        while session.id == NO_SESSION or session.id in self._by_id:
            session.id = rng.randrange(1, _LAST_EPOCH)
        self._by_id[session.id] = session
        self.partitions += size
        return session.id

    def resume(
        self, session_id: int, epoch: int, now: Instant, *, by_id: bool
    ) -> FetchSession | ErrorCode:
        """The session that a request continues; changes nothing when it cannot."""
        session = self._by_id.get(session_id)
        if session is None:
            return ErrorCode.FETCH_SESSION_ID_NOT_FOUND
        if session.epoch != epoch:
            return ErrorCode.INVALID_FETCH_SESSION_EPOCH
        if session.by_id != by_id:
            return ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
        del self._by_id[session_id]
        self._by_id[session_id] = session
        session.used = now
        session.epoch = 1 if epoch == _LAST_EPOCH else epoch + 1
        return session

    def change(
        self,
        session: FetchSession,
        asked: Iterable[tuple[Key, FetchPartition]],
        forgotten: Iterable[Key],
    ) -> bool:
        """Take in what a request names. False when the session ends with it: it is empty, or
        there would be too many partitions.
        """
        before = len(session.partitions)
        for key, place in asked:
            session.ask(key, place)
        for key in forgotten:
            partition = session.partitions.pop(key, None)
            if partition is not None:
                session.ready.pop(key, None)
                self._unwatch(session, partition)
        self.partitions += len(session.partitions) - before
        if session.partitions and self.partitions <= PARTITIONS:
            return True
        self.close(session.id)
        return False

    def close(self, session_id: int) -> None:
        """End a session; one that is not there is fine."""
        session = self._by_id.pop(session_id, None)
        if session is not None:
            self.partitions -= len(session.partitions)
            for partition in session.partitions.values():
                self._unwatch(session, partition)

    def quiet(
        self, session: FetchSession, partition: SessionPartition, log: TopicPartition
    ) -> None:
        """Reading `partition`, whose log is `log`, gave no news: leave it alone until it moves."""
        if self._by_id.get(session.id) is not session:
            return
        if partition.watched != log:
            self._unwatch(session, partition)
            partition.watched = log
            self._waiting.watch(log, session, partition.key)
        del session.ready[partition.key]

    def _unwatch(self, session: FetchSession, partition: SessionPartition) -> None:
        if partition.watched is not None:
            self._waiting.unwatch(partition.watched, session, partition.key)
            partition.watched = None

    def _make_room(self, size: int, now: Instant) -> bool:
        """Whether a session of `size` partitions may begin: in a free slot, in place of one that
        was unused for long, or of a smaller one that is not new.
        """
        if len(self._by_id) < self._slots:
            return True
        if not self._by_id:
            return False
        oldest = next(iter(self._by_id.values()))
        if now - oldest.used <= EVICTION_MS:
            old = [each for each in self._by_id.values() if each.used - each.created > EVICTION_MS]
            oldest = min(old, key=lambda each: (len(each.partitions), each.id), default=oldest)
            if not old or size <= len(oldest.partitions):
                return False
        self.close(oldest.id)
        return True
