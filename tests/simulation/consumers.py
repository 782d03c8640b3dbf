"""The simulated members of a consumer group (KIP-848): they own what they were given until they
have said that they gave it up, and commit offsets of it (G1, G4, G5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flowstream.broker.types import Instant
from flowstream.wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    TopicPartitions,
)
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tests.simulation.actors import TOPIC, Steps
from tests.simulation.world import Actor, Call, World

OFFSET_COMMIT, HEARTBEAT = 8, 68
REBALANCE_MS = 3_000
Owned = dict[bytes, set[int]]


@dataclass(slots=True)
class Owners:
    """What all members know together: who was given a partition last, and what was committed."""

    given: int = 0
    committed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition -> (number of the gift under which it was committed last, offset)."""


@dataclass(slots=True)
class Consumer:
    """One member of a group that subscribes to the topic that everybody uses."""

    world: World
    group: str
    label: str
    owners: Owners
    epoch: int = 0
    lives: int = 0
    owned: Owned = field(default_factory=dict)
    target: Owned = field(default_factory=dict)
    gifts: dict[int, int] = field(default_factory=dict)
    """Partition -> number of the answer that gave it."""

    def live(self, until: Instant) -> Actor:
        """Beat, commit, now and then leave or fall silent past the session timeout."""
        rng = self.world.rng
        while self.world.now < until:
            yield from self.beat()
            yield from self.commit()
            choice = rng.random()
            if choice < 0.03:
                yield from self.leave()
            elif choice < 0.06:
                yield 4_000  # a zombie: its session expires, then it goes on
                yield from self.commit()
            yield rng.randrange(20, 300)
        yield from self.leave()

    @property
    def member_id(self) -> str:
        """Chosen by the client (KIP-1082)."""
        return f"{self.label}/{self.lives}"

    def beat(self) -> Steps:
        """One heartbeat; the first one of a life joins."""
        joins = self.epoch == 0
        if joins:
            self.lives += 1
            self.owned, self.target, self.gifts = {}, {}, {}
        self._give_up()
        listed = tuple(
            TopicPartitions(topic_id=topic_id, partitions=tuple(sorted(numbers)))
            for topic_id, numbers in self.owned.items()
        )
        body = yield from self._ask(
            self.epoch,
            rebalance_timeout_ms=REBALANCE_MS if joins else -1,
            subscribed_topic_names=(TOPIC,) if joins else None,
            topic_partitions=listed,
        )
        if body is None:
            return
        if body.error_code:
            self.epoch, self.owned, self.target, self.gifts = 0, {}, {}, {}
            return
        if body.member_epoch < self.epoch:
            text = f"G5: {self.member_id}: epoch {body.member_epoch} after {self.epoch}"
            self.world.failures.append(text)
        self.epoch = body.member_epoch
        if body.assignment is not None:
            self._take(body.assignment.topic_partitions)

    def _ask(self, epoch: int, **said: Any) -> Steps:
        request = ConsumerGroupHeartbeatRequest(
            group_id=self.group, member_id=self.member_id, member_epoch=epoch, **said
        )
        return (yield Call(HEARTBEAT, 1, request))

    def _take(self, listed: tuple[TopicPartitions, ...]) -> None:
        """New partitions are taken at once; others go with the next heartbeat."""
        self.target = {each.topic_id: set(each.partitions) for each in listed}
        for topic_id, numbers in self.target.items():
            owned = self.owned.setdefault(topic_id, set())
            for number in sorted(numbers - owned):
                self.owners.given += 1
                self.gifts[number] = self.owners.given
            owned |= numbers

    def _give_up(self) -> None:
        self.owned = {
            topic_id: numbers & self.target[topic_id]
            for topic_id, numbers in self.owned.items()
            if topic_id in self.target
        }

    def commit(self) -> Steps:
        """Commit the next offset of one owned partition; one that is accepted after a later owner's
        breaks G4.
        """
        mine = sorted(set().union(*self.owned.values())) if self.owned else []
        if not mine or self.epoch <= 0:
            return
        partition = self.world.rng.choice(mine)
        gift = self.gifts[partition]
        newest, highest = self.owners.committed.get(partition, (-1, 0))
        part = OffsetCommitRequestPartition(partition_index=partition, committed_offset=highest + 1)
        request = OffsetCommitRequest(
            group_id=self.group,
            generation_id_or_member_epoch=self.epoch,
            member_id=self.member_id,
            topics=(OffsetCommitRequestTopic(name=TOPIC, partitions=(part,)),),
        )
        body = yield Call(OFFSET_COMMIT, 9, request)
        if body is None or body.topics[0].partitions[0].error_code:
            return
        if gift < newest:  # the later owner's commit was accepted before this one was sent
            text = f"G4: {self.member_id} committed partition {partition} after its next owner"
            self.world.failures.append(text)
        newest, highest_now = self.owners.committed.get(partition, (-1, 0))
        self.owners.committed[partition] = (max(newest, gift), max(highest_now, highest + 1))

    def leave(self) -> Steps:
        """The last heartbeat of a life."""
        if self.epoch > 0:
            yield from self._ask(-1)
        self.epoch, self.owned, self.target, self.gifts = 0, {}, {}, {}
