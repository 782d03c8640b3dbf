"""Dead letters: which wait, and sending them back to where they came from, exactly once.

Shell. The group `<app>-dead-letters` holds how far they are dealt with (see `dealt`). A letter and
the position behind it commit in one transaction, of one transactional id: two that redrive fence
each other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from types import TracebackType

from flowstream.processing.events.redriven import address, first_place
from flowstream.processing.operating.dealt import LONGEST_NOTE, Dealt, dealt_of
from flowstream.processing.operating.letters import (
    BadLetter,
    Keyed,
    Letter,
    addressee,
    letter_of,
    refuse_idle,
    refuse_outlived,
)
from flowstream.processing.operating.newer import newest
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import RequestRefused, TransportError
from flowstream.transport.reader import PartitionReader
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import TopicPartition

AT_ONCE = 500
"""Letters of one transaction."""
BYTES_AT_ONCE = 8 << 20
"""As many bytes of them, or one more letter."""
DEALT_WITH = "somebody else has dealt with these letters meanwhile: look again"
NOTHING: Mapping[str, str] = {}


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
        self._dealt: dict[TopicPartition, Dealt] = {}
        self._seen: dict[TopicPartition, list[int]] = {}
        """Offsets of the letters from there on, as far as `waiting` has looked."""

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
        """See `waiting`."""
        return [letter async for letter in self.waiting(limit)]

    async def waiting(self, limit: int | None = None) -> AsyncGenerator[Letter, None]:
        """The letters that nobody has dealt with, by partition and in order; `limit` at most, and
        one fetch of them in memory.
        """
        described = (await self._admin.topics([self._topic])).get(self._topic)
        if described is None:
            return
        tps = [TopicPartition(self._topic, number) for number in range(described.partitions)]
        self._dealt = known = await self._read_dealt(tps)
        self._seen = {tp: [] for tp in tps}
        starts = await self._admin.beginning_offsets(tps)
        ends = await self._admin.end_offsets(tps, committed=True)
        left = limit
        for tp in tps:
            dealt, seen = known[tp], self._seen[tp]
            reader = PartitionReader(self._cluster, tp, max(dealt.position, starts[tp]))
            while reader.position < ends[tp] and left != 0:
                records = await reader.read()
                seen += [record.offset for record in records]
                for letter in (letter_of(tp, each) for each in records if each.offset not in dealt):
                    if left == 0:
                        break
                    left = None if left is None else left - 1
                    yield letter

    async def _read_dealt(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, Dealt]:
        wanted = list(tps)
        found = await self._admin.positions(self.group, wanted)
        try:
            return {tp: dealt_of(*found[tp]) if tp in found else Dealt(0) for tp in wanted}
        except ValueError as error:
            raise BadLetter(f"group {self.group!r}: {error}") from error

    async def addressees(
        self,
        letters: Sequence[Letter],
        renamed: Mapping[str, str] = NOTHING,
        *,
        even_if_newer: bool = False,
    ) -> list[str]:
        """The agents that these would be sent back to; BadLetter when there is none for one, or its
        topic is compacted and has a newer record of its key.
        """
        refuse_idle(letters, renamed)
        topics = await self._admin.topics(sorted({letter.origin.topic for letter in letters}))
        to = [addressee(letter, topics, self._agents, renamed) for letter in letters]
        if not even_if_newer:
            keyed = [
                (Keyed(each.origin, each.key), each.source_offset)
                for each in letters
                if each.key is not None
                and each.origin.partition < topics[each.origin.topic].partitions
            ]
            try:
                refuse_outlived(letters, await newest(self._cluster, keyed))
            except RequestRefused as error:
                raise BadLetter(
                    "whether a compacted topic has newer records of their keys cannot be seen"
                    f" ({error}): let this user describe the configs of the topic and read it, or"
                    " send them back all the same with --even-if-newer"
                ) from error
        return to

    async def redrive(
        self,
        letters: Sequence[Letter],
        renamed: Mapping[str, str] = NOTHING,
        *,
        even_if_newer: bool = False,
    ) -> None:
        """Send these letters (some of `waiting`, in its order) back to their topics as they were,
        each to the agent that failed on it; they are read anew, and may be slim. `renamed`: whose
        letters go to which other agent; those of "" are the ones that name none. `even_if_newer`:
        also where the topic is compacted and has a newer record of the key.
        """
        agents = await self.addressees(letters, renamed, even_if_newer=even_if_newer)
        places = ((letter.tp, letter.offset) for letter in letters)
        to = dict(zip(places, agents, strict=True))
        batch: list[tuple[Letter, str]] = []
        size = 0
        if to:
            await self._only_one()
        async with aclosing(self.waiting()) as waiting:
            while to:
                letter = await anext(waiting, None)
                if letter is None:
                    raise BadLetter(DEALT_WITH)
                agent = to.pop((letter.tp, letter.offset), None)
                if agent is None:
                    continue
                batch.append((letter, agent))
                size += letter.size
                if not to or len(batch) >= AT_ONCE or size >= BYTES_AT_ONCE:
                    await self._redrive(batch)
                    batch, size = [], 0

    async def _redrive(self, batch: Sequence[tuple[Letter, str]]) -> None:
        buffer = RecordBuffer(transactional=True)
        for letter, agent in batch:
            side = letter.told.get("side", "")
            to = address(self._app_id, agent, letter.origin.topic, side)
            headers = (to, *first_place(letter.source_offset), *letter.headers)
            buffer.append(letter.origin, letter.key, letter.value, letter.timestamp_ms, headers)
        await self._pass([letter for letter, _ in batch], buffer)

    async def discard(self, letters: Sequence[Letter]) -> None:
        """Pass over these letters (some of `waiting`, they may be slim) for good."""
        await self._pass(letters, RecordBuffer(transactional=True))

    async def _only_one(self) -> TransactionSession:
        """Fence whoever else deals with letters, once."""
        if self._session is None:
            self._session = TransactionSession(self._cluster, f"{self._app_id}-redrive")
            await self._session.init()
            # Somebody else may have dealt with some of them before we became the only one.
            self._dealt = await self._read_dealt(sorted(self._seen))
        return self._session

    async def _pass(self, letters: Sequence[Letter], buffer: RecordBuffer) -> None:
        if not letters:
            return
        session = await self._only_one()
        after = self._after(letters)
        session.begin()
        try:
            await session.produce(buffer.take())
            positions = {tp: dealt.position for tp, dealt in after.items()}
            notes = {tp: dealt.note for tp, dealt in after.items()}
            await session.add_lone_offsets(positions, self.group, notes)
        except BaseException:
            with suppress(TransportError):
                await session.abort()
            raise
        await session.commit()
        self._dealt.update(after)

    def _after(self, letters: Sequence[Letter]) -> dict[TopicPartition, Dealt]:
        """What is dealt with once these are."""
        done: dict[TopicPartition, set[int]] = {}
        for letter in letters:
            done.setdefault(letter.tp, set()).add(letter.offset)
        after: dict[TopicPartition, Dealt] = {}
        for tp, offsets in done.items():
            seen, dealt = self._seen.get(tp, []), self._dealt.get(tp, Dealt(0))
            if not offsets <= set(seen) or any(offset in dealt for offset in offsets):
                raise BadLetter(DEALT_WITH)
            after[tp] = dealt.after([each for each in seen if each >= dealt.position], offsets)
            if len(after[tp].note) > LONGEST_NOTE:
                raise BadLetter(
                    f"too many letters of {tp.topic}-{tp.partition} are dealt with one by one,"
                    " behind others that wait: send back or discard the oldest"
                )
        return after
