"""Dead letters: which wait, and sending them back to where they came from, exactly once.

Shell. The group `<app>-dead-letters` holds how far they are dealt with. A letter and the position
behind it commit in one transaction, of one transactional id: two that redrive fence each other.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from flowstream.errors import FlowstreamError
from flowstream.processing.events.dead_letters import PREFIX, is_of_late
from flowstream.processing.events.redriven import address
from flowstream.processing.events.replies import MOST_DIGITS
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import TransportError
from flowstream.transport.reader import PartitionReader
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import LogRecord, TopicPartition

AT_ONCE = 500
"""Letters of one transaction."""
NOTHING: Mapping[str, str] = {}
OR_DISCARD = "redrive what is before it with --count, then discard it"


class BadLetter(FlowstreamError):
    """A record of the dead-letter topic that does not say where it came from."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: where it lies, the record it was, and why it is here."""

    tp: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...]
    told: Mapping[str, str]
    """agent, side (where it joins), topic, partition, offset, error, cause, traceback."""

    @property
    def where(self) -> str:
        """Where it lies, for people."""
        return f"{self.tp.topic}-{self.tp.partition} offset {self.offset}"

    @property
    def origin(self) -> TopicPartition:
        """The topic and partition that it came from; BadLetter when it does not say."""
        topic, partition = self.told.get("topic"), self.told.get("partition", "")
        if not topic or not partition.isdecimal() or len(partition) > MOST_DIGITS:
            raise BadLetter(
                f"{self.where} is no dead letter of ours: it does not say where it came from."
                " Discard it"
            )
        return TopicPartition(topic, int(partition))


def letter_of(tp: TopicPartition, record: LogRecord) -> Letter:
    """A record of a dead-letter topic, read."""
    told = {
        name.removeprefix(PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
    own = tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))
    return Letter(tp, record.offset, record.key, record.value, record.timestamp, own, told)


def _addressee(
    letter: Letter, topics: Container[str], agents: Container[str] | None,
    renamed: Mapping[str, str],
) -> str:  # fmt: skip
    """The agent that gets a letter back; BadLetter, with the remedy, when there is none."""
    if letter.origin.topic not in topics:
        raise BadLetter(
            f"{letter.where} came from {letter.origin.topic!r}, which is no topic (windows, timers"
            f" and joins are inside the app): {OR_DISCARD}"
        )
    if is_of_late(letter.told):
        raise BadLetter(
            f"{letter.where} came too late for its windows, and would again; whatever else agent"
            f" {letter.told.get('agent')!r} does with it is done: {OR_DISCARD}"
        )
    named = letter.told.get("agent", "")
    agent = renamed.get(named, named)
    if not agent:
        raise BadLetter(
            f"{letter.where} does not say which agent failed on it: name the one that gets it,"
            f" --to NAME, or {OR_DISCARD}"
        )
    if agents is not None and agent not in agents:
        old = "" if not named or named != agent else f"{named}="
        raise BadLetter(
            f"{letter.where} is for agent {agent!r}, which the app does not have: if it has another"
            f" name now, --to {old}NAME; else {OR_DISCARD}"
        )
    return agent


def _refuse_idle(letters: Sequence[Letter], renamed: Mapping[str, str]) -> None:
    """BadLetter for a new name that none of these letters would go by."""
    named = sorted({letter.told.get("agent", "") for letter in letters})
    for old, new in renamed.items() if letters else ():
        if old not in named:
            whose = f"is of agent {old!r}" if old else "is without the name of its agent"
            raise BadLetter(
                f"none of these letters {whose}, so that --to would do nothing with {new!r}: they"
                f" are of {', '.join(map(repr, named))}, and --to OLD=NEW gives those of OLD to NEW"
            )


class DeadLetters:
    """The dead letters of one app."""

    def __init__(
        self, cluster: Cluster, app_id: str, topic: str, agents: Container[str] | None = None
    ) -> None:
        self.group = topic
        self._cluster = cluster
        self._app_id = app_id
        self._topic = topic
        self._agents = agents
        """Those that the app has, where that is known."""
        self._admin = Admin(cluster)
        self._session: TransactionSession | None = None

    async def __aenter__(self) -> DeadLetters:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            # Fenced or cut off: whoever has the id now, or the timeout, ends what is open.
            with suppress(TransportError):
                await self._session.abort()

    async def pending(self, limit: int | None = None) -> list[Letter]:
        """The letters that nobody has dealt with, by partition and in order; `limit` at most."""
        described = (await self._admin.topics([self._topic])).get(self._topic)
        if described is None:
            return []
        tps = [TopicPartition(self._topic, number) for number in range(described.partitions)]
        positions = await self._admin.committed(self.group, tps, require_stable=True)
        starts = await self._admin.beginning_offsets(tps)
        ends = await self._admin.end_offsets(tps, committed=True)
        found: list[Letter] = []
        for tp in tps:
            reader = PartitionReader(self._cluster, tp, max(positions.get(tp) or 0, starts[tp]))
            while reader.position < ends[tp] and (limit is None or len(found) < limit):
                found += [letter_of(tp, record) for record in await reader.read()]
        return found if limit is None else found[:limit]

    async def addressees(
        self, letters: Sequence[Letter], renamed: Mapping[str, str] = NOTHING
    ) -> list[str]:
        """The agents that these would be sent back to; BadLetter when there is none for one."""
        _refuse_idle(letters, renamed)
        topics = await self._admin.topics(sorted({letter.origin.topic for letter in letters}))
        return [_addressee(letter, topics, self._agents, renamed) for letter in letters]

    async def redrive(
        self, letters: Sequence[Letter], renamed: Mapping[str, str] = NOTHING
    ) -> None:
        """Send these letters (a prefix of `pending`) back to their topics as they were, each to the
        agent that failed on it. `renamed`: whose letters go to which other agent; those of "" are
        the ones that name none.
        """
        to = await self.addressees(letters, renamed)
        for start in range(0, len(letters), AT_ONCE):
            await self._redrive(letters[start : start + AT_ONCE], to[start : start + AT_ONCE])

    async def _redrive(self, letters: Sequence[Letter], agents: Sequence[str]) -> None:
        buffer = RecordBuffer(transactional=True)
        for letter, agent in zip(letters, agents, strict=True):
            side = letter.told.get("side", "")
            headers = (address(self._app_id, agent, letter.origin.topic, side), *letter.headers)
            buffer.append(letter.origin, letter.key, letter.value, letter.timestamp_ms, headers)
        await self._pass(letters, buffer)

    async def discard(self, letters: Sequence[Letter]) -> None:
        """Pass over these letters (a prefix of `pending`) for good."""
        await self._pass(letters, RecordBuffer(transactional=True))

    async def _pass(self, letters: Sequence[Letter], buffer: RecordBuffer) -> None:
        if not letters:
            return
        if self._session is None:
            self._session = TransactionSession(self._cluster, f"{self._app_id}-redrive")
            await self._session.init()
            # Somebody else may have dealt with some of them before we became the only one.
            positions = await self._admin.committed(
                self.group, sorted({letter.tp for letter in letters}), require_stable=True
            )
            if any(letter.offset < (positions.get(letter.tp) or 0) for letter in letters):
                raise BadLetter("somebody else has dealt with these letters meanwhile: look again")
        ends: dict[TopicPartition, int] = {}
        for letter in letters:
            ends[letter.tp] = max(ends.get(letter.tp, 0), letter.offset + 1)
        self._session.begin()
        try:
            await self._session.produce(buffer.take())
            await self._session.add_lone_offsets(ends, self.group)
        except BaseException:
            with suppress(TransportError):
                await self._session.abort()
            raise
        await self._session.commit()
