"""The group consumer: a member of a group that fetches what it owns, from where it is told.

Shell: drives `member` through its rebalances, adds to and takes from `fetching` what they bring,
and tells its listener. A partition that stays is not touched. Knows no tables and no transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from flowstream.clock import monotonic_ms
from flowstream.transport.assignor import GroupAssignor, Share
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    ConsumerFailed,
    GenerationPassed,
    InstanceFenced,
    SettingRefused,
    SharesAwaited,
    TransportError,
)
from flowstream.transport.fetching import Batches, Fetching
from flowstream.transport.member import GroupMember, unnoted
from flowstream.transport.types import Generation, TopicPartition

LEAVE_TIMEOUT_S = 1.0
"""So long a broker may take to let a member go; then its session times out (V4)."""


class Listener(Protocol):
    """Told of rebalances, one after the other; signs of life go on meanwhile.

    Both must come back well within the rebalance timeout: restore elsewhere.
    """

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions are about to go, all others stay. Offsets of all of them may still be
        committed, under the generation that `GroupConsumer.generation()` gives.
        """

    async def assigned(self, partitions: frozenset[TopicPartition], told: bytes) -> None:
        """These partitions are owned now, beside those that stay; none when nothing is new. `told`
        is what the leader says to this member. Nothing is fetched of a partition before `seek`.
        """


class Fetches(Protocol):
    """What brings the records of owned partitions: see `fetching.Fetching`."""

    async def open(self, topics: Iterable[str]) -> None:
        """Connect."""

    async def close(self) -> None:
        """Close the connections."""

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions in beside those that are there, parked."""

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Let partitions go."""

    @property
    def paused(self) -> Collection[TopicPartition]:
        """What `pause` keeps from being fetched; nobody else keeps account of it."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from `offset`; starts a parked partition."""

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch no more of these."""

    def resume(self, *partitions: TopicPartition) -> None:
        """Undo `pause`."""

    def highwater(self, tp: TopicPartition) -> int | None:
        """High watermark at the last fetch."""

    def unfetched(self, tp: TopicPartition) -> int | None:
        """Offsets between what `getmany` gave and the end at the last fetch."""

    def silence_ms(self, tp: TopicPartition) -> int | None:
        """How long ago the last fetch was answered; None before it."""

    async def getmany(self, max_records: int, timeout_ms: int) -> Batches:
        """Records that are ready; waits for the first."""

    def check(self) -> None:
        """ConsumerFailed when nothing will be fetched any more."""


class GroupConsumer:
    """A member of a group. Partitions arrive parked: `seek` says from where and starts them."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        assignor: GroupAssignor,
        listener: Listener,
        *,
        instance_id: str | None = None,
        session_timeout_ms: int = 10_000,
        heartbeat_interval_ms: int = 1_000,
        rebalance_timeout_ms: int = 30_000,
        max_partition_bytes: int = 1 << 20,
        stalled_after_ms: int = 60_000,
        gather_ms: float = 0.0,
        fetching: Fetches | None = None,
        noting: Callable[[str], None] = unnoted,
    ) -> None:
        self._group = group
        self._listener = listener
        self._cluster = cluster
        self._bootstrap = cluster.bootstrap
        self._session_timeout_ms = session_timeout_ms
        self._stalled_after_ms = stalled_after_ms
        self._fetching: Fetches = fetching or Fetching(
            cluster,
            max_partition_bytes=max_partition_bytes,
            stalled_after_ms=stalled_after_ms,
            gather_ms=gather_ms,
        )
        self._member = GroupMember(
            cluster,
            group,
            assignor,
            instance_id=instance_id,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            noting=noting,
        )
        self._topics: tuple[str, ...] = ()
        self._living: asyncio.Task[None] | None = None
        self._joining_ms: int | None = None
        """Since when this member waits for a share."""
        self.seek = self._fetching.seek
        self.pause = self._fetching.pause
        self.resume = self._fetching.resume
        self.highwater = self._fetching.highwater
        self.unfetched = self._fetching.unfetched
        self.silence_ms = self._fetching.silence_ms

    async def start(self, topics: Iterable[str]) -> None:
        """Connect and begin to join; does not wait for the first assignment."""
        self._topics = tuple(sorted(topics))
        await self._fetching.open(self._topics)
        self._joining_ms = monotonic_ms()
        self._living = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """Leave the group and close; `revoked` is not called."""
        try:
            if self._living is not None:
                await self.end_rebalances()
                leaving = asyncio.create_task(self._member.leave())
                await asyncio.wait((leaving,), timeout=LEAVE_TIMEOUT_S)
                leaving.cancel()
                await asyncio.wait((leaving,))
        finally:
            await self._fetching.close()

    async def end_rebalances(self) -> None:
        """Take part in none any more. One that is under way is broken off, and the listener with
        it, which may wait for a broker that is silent or for code of the user's (V4).
        """
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait((self._living,))

    async def getmany(self, max_records: int = 500, timeout_ms: int = 200) -> Batches:
        """Records that are ready, at most `max_records`; waits up to `timeout_ms` for the first.

        Raises OffsetOutOfRange with partition and offset, and ConsumerFailed when the consumer
        will not deliver again.
        """
        self._check()
        found = await self._fetching.getmany(max_records, timeout_ms)
        self._check()
        return found

    # -- the group ------------------------------------------------------------------------------

    def generation(self) -> Generation | None:
        """The generation that this member is in: a commit of another is refused (KIP-447). None
        before the first one.
        """
        return self._member.generation

    async def generation_after(
        self, refused: Generation, why: GenerationPassed
    ) -> Generation | None:
        """The generation in which to offer again what the group refused in an earlier one: this
        member went over into it with all that it owned. None when it did not, and is a zombie.
        """
        member = self._member
        if not member.is_rebalancing and member.generation == refused:
            # Its share may have come while the refusal that speaks of it was on its way.
            return refused if isinstance(why, SharesAwaited) and not self._has_ended else None
        while member.is_rebalancing and member.generation == refused:
            await member.changed()
        now = member.generation
        if now is None or now.member_id != refused.member_id or self._has_ended:
            return None
        return now

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions owned now."""
        return self._member.owned

    @property
    def paused(self) -> Collection[TopicPartition]:
        """Partitions that were paused and are to be resumed, also when their position was set anew
        meanwhile.
        """
        return self._fetching.paused

    @property
    def unanswered_s(self) -> float:
        """For how long the cluster has not answered; 0 while it does. While the group may take its
        time, as it waits for others in a rebalance, fetches tell.
        """
        seconds = self._member.unanswered_s
        if self._member.is_rebalancing:
            silences = (self.silence_ms(tp) for tp in self._member.owned.difference(self.paused))
            known = [silence for silence in silences if silence is not None]
            seconds = max(seconds, min(known, default=0) / 1000)
        return seconds

    @property
    def may_be_replaced(self) -> bool:
        """Whether others may have the partitions by now, as the session is over."""
        is_cut_off = self.unanswered_s * 1000 >= self._session_timeout_ms
        return is_cut_off or self._member.may_be_replaced

    def want_rebalance(self) -> None:
        """Join again soon, with something new to tell the leader."""
        self._member.want_rebalance()

    async def _live(self) -> None:
        """Rebalance after rebalance, until cancelled."""
        while True:
            share = await self._member.join(self._topics)
            self._joining_ms = None
            free = asyncio.Event()
            beating = asyncio.create_task(self._member.beat(free))
            try:
                if await self._take(share):
                    # The group waits to give them to others.
                    self._member.want_rebalance()
                free.set()
                await beating
            finally:
                beating.cancel()
                await asyncio.wait((beating,))

    async def _take(self, share: Share) -> bool:
        """Let go and take on what a share says; whether anything of it is to be shared anew."""
        owned = self._member.owned
        # A static member that is back gets the share of who it was, which may have read more.
        mine = frozenset(tp for tp in share.partitions if tp.topic in self._topics)
        gone, new = owned - mine, mine - owned
        if gone:
            await self._listener.revoked(gone)
            self._fetching.remove(gone)
            self._member.owned -= gone
        self._fetching.add(new)
        self._member.owned |= new
        await self._listener.assigned(new, share.user_data)
        return bool(gone) or mine != share.partitions

    @property
    def _has_ended(self) -> bool:
        return self._living is None or self._living.done()

    def _check(self) -> None:
        """Turn the death of a background task, a stall, or a listener's error into an exception
        here, where someone looks.
        """
        living = self._living
        if living is not None and living.done() and not living.cancelled():
            error = living.exception()
            if isinstance(error, ConsumerFailed | InstanceFenced | SettingRefused):
                raise error
            if isinstance(error, TransportError):
                raise ConsumerFailed(str(error)) from error
            raise ConsumerFailed(f"a rebalance listener raised {error!r}") from error
        if self._cluster.bootstrap != self._bootstrap:
            raise ConsumerFailed(
                f"the broker moved from {self._bootstrap} to {self._cluster.bootstrap}"
            )
        since = self._joining_ms
        if since is not None and monotonic_ms() - since >= self._stalled_after_ms:
            raise ConsumerFailed(f"joining group {self._group!r} stalled: no assignment")
        self._fetching.check()
