"""A member of a group by the classic protocol, with incremental cooperative rebalances (KIP-429):
it keeps what it owns while the group shares anew.

Shell: join, sync, heartbeat, leave. What a share is, is decided in `assignor`; what becomes of
partitions, in `consumer`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from flowstream.clock import monotonic_ms
from flowstream.transport.assignor import (
    NOTHING,
    GroupAssignor,
    Share,
    decode_share,
    decode_subscription,
    encode_share,
    encode_subscription,
)
from flowstream.transport.cluster import Cluster, Coordinator, backoffs
from flowstream.transport.errors import (
    ConnectionLost,
    ConsumerFailed,
    InstanceFenced,
    RequestRefused,
    SettingRefused,
    TransportError,
    error_name,
)
from flowstream.transport.types import Generation, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.heartbeat import HeartbeatRequest
from flowstream.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from flowstream.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

log = logging.getLogger("flowstream.worker")

PROTOCOL_TYPE = "consumer"
ANSWER_GRACE_MS = 5_000
"""An answer to a join comes when the last member has joined, or its patience is over."""
QUICK_BEAT_S = 0.05
QUICK_BEATS = 200
"""While another round is to follow, members ask this often for it: who waits for partitions waits
for the slowest of them.
"""
STATIC_VERSION = {ApiKey.JOIN_GROUP: 5, ApiKey.SYNC_GROUP: 3, ApiKey.HEARTBEAT: 3}
"""From these versions on a member may say which instance it is (KIP-345)."""
LEAVE_LIST_VERSION = 3
ALIVE = frozenset((ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS))
"""Answers to a member that the group has."""
GONE = frozenset((ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION))
REMEDIES: dict[int, str] = {
    ErrorCode.INCONSISTENT_GROUP_PROTOCOL: "the group has members that share partitions in another"
    " way: workers of another version, or other consumers. Stop them first, or choose a new app id",
    ErrorCode.GROUP_MAX_SIZE_REACHED: "the cluster allows no more members"
    " (group.max.size), or no more of what they say: fewer topics in this app, or fewer workers",
    ErrorCode.INVALID_SESSION_TIMEOUT: "the cluster allows no such session_timeout"
    " (group.min.session.timeout.ms, group.max.session.timeout.ms)",
}


def unnoted(member_id: str) -> None:
    """Nobody keeps account of member ids."""


class GroupMember:
    """One member. Once it owns something its id never changes: whoever is thrown out is through."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        assignor: GroupAssignor,
        *,
        instance_id: str | None,
        session_timeout_ms: int,
        heartbeat_interval_ms: int,
        rebalance_timeout_ms: int,
        noting: Callable[[str], None] = unnoted,
    ) -> None:
        """`noting` is told the member id before the group may wait for it, "" after leaving."""
        self.owned: frozenset[TopicPartition] = NOTHING
        """Set by whoever takes partitions and lets them go."""
        self.generation: Generation | None = None
        self.is_rebalancing = False
        self._cluster = cluster
        self._group = group
        self._assignor = assignor
        self._instance_id = instance_id
        self._session_timeout_ms = session_timeout_ms
        self._heartbeat_s = heartbeat_interval_ms / 1000
        self._rebalance_timeout_ms = rebalance_timeout_ms
        self._noting = noting
        self._member_id = ""
        self._unanswered_ms: int | None = None
        """Since when the group owes an answer that it has at once."""
        self._alive_ms: int | None = None
        """When the group last heard of this member, or a moment before."""
        self._unfinished = False
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()

    def want_rebalance(self) -> None:
        """Join again soon."""
        self._wanted.set()

    @property
    def may_be_replaced(self) -> bool:
        """Whether the session is over, by this member's own clock: whether the group has noticed or
        not, and whether it can tell or not, others may have its partitions.
        """
        patience_ms = self._session_timeout_ms
        if self.is_rebalancing:  # it waits for the group, which waits for the others
            patience_ms += self._rebalance_timeout_ms
        return self._alive_ms is None or monotonic_ms() - self._alive_ms >= patience_ms

    @property
    def unanswered_s(self) -> float:
        """For how long the group has not answered. 0 while it does, and while it may take its time
        over a join.
        """
        since = self._unanswered_ms
        return 0.0 if since is None else (monotonic_ms() - since) / 1000

    async def changed(self) -> None:
        """Wait for the next step of a rebalance."""
        await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # -- joining --------------------------------------------------------------------------------

    async def join(self, topics: Iterable[str]) -> Share:
        """Take part in the next generation and get a share of it. ConsumerFailed when the group
        has given to others what this member owned.
        """
        self.is_rebalancing = True
        try:
            while True:
                joined = await self._join(topics)
                share = await self._sync(joined)
                if share is not None:
                    self._unfinished = share.unfinished
                    return share
        finally:
            self.is_rebalancing = False
            self._change()

    async def _join(self, topics: Iterable[str]) -> JoinGroupResponse:
        pauses = backoffs()
        while True:
            # What is said later is about what has changed later.
            self._wanted.clear()
            answer: JoinGroupResponse = await self._ask(
                ApiKey.JOIN_GROUP, self._join_request(topics), self._patience_ms
            )
            code = answer.error_code
            if code == ErrorCode.NONE:
                self._be(answer.member_id)
                self.generation = Generation(
                    self._group, answer.generation_id, answer.member_id, self._instance_id
                )
                self._change()
                return answer
            if code == ErrorCode.MEMBER_ID_REQUIRED:
                self._be(answer.member_id)
                continue
            self._excuse(code)
            await asyncio.sleep(next(pauses))

    def _be(self, member_id: str) -> None:
        if member_id != self._member_id:
            self._member_id = member_id
            self._noting(member_id)

    def _join_request(self, topics: Iterable[str]) -> JoinGroupRequest:
        generation = -1 if self.generation is None else self.generation.generation_id
        subscription = encode_subscription(
            topics, self._assignor.subscription_data(), self.owned, generation
        )
        return JoinGroupRequest(
            group_id=self._group,
            session_timeout_ms=self._session_timeout_ms,
            rebalance_timeout_ms=self._rebalance_timeout_ms,
            member_id=self._member_id,
            group_instance_id=self._instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=(JoinGroupRequestProtocol(name=self._assignor.name, metadata=subscription),),
        )

    async def _sync(self, joined: JoinGroupResponse) -> Share | None:
        """This member's share; None when it has to join again."""
        shares: tuple[SyncGroupRequestAssignment, ...] = ()
        if joined.leader == joined.member_id and not joined.skip_assignment:
            shares = await self._decide(joined)
        request = SyncGroupRequest(
            group_id=self._group,
            generation_id=joined.generation_id,
            member_id=self._member_id,
            group_instance_id=self._instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=self._assignor.name,
            assignments=shares,
        )
        answer = await self._ask(ApiKey.SYNC_GROUP, request, self._patience_ms)
        if answer.error_code == ErrorCode.NONE:
            return decode_share(bytes(answer.assignment))
        self._excuse(answer.error_code)
        return None

    async def _decide(self, joined: JoinGroupResponse) -> tuple[SyncGroupRequestAssignment, ...]:
        """Share the partitions, as leader."""
        members = {each.member_id: decode_subscription(each.metadata) for each in joined.members}
        topics = sorted({topic for member in members.values() for topic in member.topics})
        try:
            found = (await self._cluster.metadata(topics)).topics
        except TransportError as error:
            # Who decides knows a number of partitions too: nobody may stay without (G7).
            log.warning("sharing partitions without fresh metadata: %s", error)
            found = ()
        counts = {each.name: len(each.partitions) for each in found if each.name}
        shares = self._assignor.decide(
            members, {topic: count for topic, count in counts.items() if count}
        )
        return tuple(
            SyncGroupRequestAssignment(member_id=member, assignment=encode_share(share))
            for member, share in shares.items()
        )

    @property
    def _patience_ms(self) -> int:
        return self._rebalance_timeout_ms + ANSWER_GRACE_MS

    # -- staying --------------------------------------------------------------------------------

    async def beat(self, free: asyncio.Event) -> None:
        """Show signs of life until it is time to join again and whoever takes the share is `free`
        to: until then the session goes on, also while the group waits for this member.
        ConsumerFailed when the group takes it for gone.
        """
        beats, is_due = 0, False
        while not (free.is_set() and (is_due or self._wanted.is_set())):
            is_due = is_due or self._wanted.is_set()
            is_quick = self._unfinished and beats < QUICK_BEATS and not is_due
            beats += 1
            try:
                async with asyncio.timeout(QUICK_BEAT_S if is_quick else self._heartbeat_s):
                    await (free if is_due else self._wanted).wait()
                continue
            except TimeoutError:
                pass
            generation = self.generation
            assert generation is not None
            request = HeartbeatRequest(
                group_id=self._group,
                generation_id=generation.generation_id,
                member_id=self._member_id,
                group_instance_id=self._instance_id,
            )
            answer = await self._ask(ApiKey.HEARTBEAT, request, self._session_timeout_ms)
            if answer.error_code == ErrorCode.REBALANCE_IN_PROGRESS:
                is_due = True
            elif answer.error_code:
                self._excuse(answer.error_code)
                return

    def _excuse(self, code: int) -> None:
        """Return when joining again can cure a refusal; raise when it cannot."""
        if code == ErrorCode.REBALANCE_IN_PROGRESS:
            return
        if code in GONE:
            if self.owned:
                raise ConsumerFailed(
                    f"group {self._group!r} has gone on without this member: {error_name(code)}"
                )
            self._member_id, self.generation = "", None
            return
        if code == ErrorCode.FENCED_INSTANCE_ID:
            raise InstanceFenced(
                f"another worker joined group {self._group!r} as {self._instance_id!r}: give each"
                " worker a group_instance_id of its own"
            )
        refused = SettingRefused if code == ErrorCode.INVALID_SESSION_TIMEOUT else RequestRefused
        raise refused(f"joining group {self._group!r}", code, REMEDIES.get(code))

    async def _ask(self, key: ApiKey, request: object, timeout_ms: int) -> Any:
        """Ask the coordinator, wherever it is, until it answers with something that stays."""
        to = Coordinator("group", self._group)
        pauses = backoffs()
        least = 0 if self._instance_id is None else STATIC_VERSION[key]
        if key == ApiKey.HEARTBEAT:
            self._unanswered_ms = monotonic_ms()
        try:
            while True:
                asked_ms = monotonic_ms()
                try:
                    answer = await self._cluster.request(
                        to, key, lambda _: request,
                        min_version=least, timeout_ms=timeout_ms, lane=self,
                    )  # fmt: skip
                except ConnectionLost as error:
                    if self._unanswered_ms is None:
                        self._unanswered_ms = monotonic_ms()
                    log.log(self._cluster.level(logging.INFO), "group %s: %s", self._group, error)
                else:
                    if not retriable(answer.error_code):
                        if answer.error_code in ALIVE:
                            # Others are waited for in the other requests, with the session open.
                            is_beat = key == ApiKey.HEARTBEAT
                            self._alive_ms = asked_ms if is_beat else monotonic_ms()
                        return answer
                    self._cluster.forget(to)
                await asyncio.sleep(next(pauses))
        finally:
            self._unanswered_ms = None

    # -- leaving --------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Tell the group, so that it need not wait for the session to end. A static member stays:
        it is expected back (KIP-345).
        """
        # The coordinator answers one request of a connection at a time, and perhaps a join waits.
        self._cluster.drop_lane(self)
        if not self._member_id or self._instance_id is not None:
            return
        try:
            await self._cluster.request(
                Coordinator("group", self._group), ApiKey.LEAVE_GROUP, self._leave_request
            )
        except TransportError as error:
            log.info("leaving group %s: %s", self._group, error)
        else:
            self._noting("")

    def _leave_request(self, version: int) -> LeaveGroupRequest:
        if version < LEAVE_LIST_VERSION:
            return LeaveGroupRequest(group_id=self._group, member_id=self._member_id)
        return LeaveGroupRequest(
            group_id=self._group, members=(MemberIdentity(member_id=self._member_id),)
        )
