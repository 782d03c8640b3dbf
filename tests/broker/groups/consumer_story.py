"""Members of consumer groups (KIP-848) as real clients behave: they own what they were given until
they have said that they gave it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from tests.broker.groups.story import Groups

INTERVAL_MS = 5_000
REBALANCE_MS = 20_000


class Consumers(Groups):
    """A coordinator with topics, asked by members of the consumer protocol."""

    def consumer(self, group: str = "g") -> ConsumerGroup:
        return self.core.consumers[group]

    def create(self, name: str, partitions: int) -> bytes:
        topic_id = self.known.create(name, partitions)
        self.core.metadata_changed(self.known.version)
        return topic_id

    def delete(self, name: str) -> None:
        self.known.delete(name)
        self.core.metadata_changed(self.known.version)

    def beat(
        self,
        member_id: str,
        epoch: int,
        *,
        group: str = "g",
        owned: Mapping[bytes, Iterable[int]] | None = None,
        version: int = 1,
        **said: Any,
    ) -> ConsumerGroupHeartbeatResponse:
        """One ConsumerGroupHeartbeat and its answer."""
        listed = None
        if owned is not None:
            listed = tuple(
                TopicPartitions(topic_id=topic_id, partitions=tuple(sorted(numbers)))
                for topic_id, numbers in owned.items()
            )
        body = ConsumerGroupHeartbeatRequest(
            group_id=group, member_id=member_id, member_epoch=epoch, topic_partitions=listed, **said
        )
        self.take(self.core.consumer_heartbeat(self._request(body, 68, version), self.now))
        answer = self.answers.pop(self.asked)
        assert isinstance(answer, ConsumerGroupHeartbeatResponse)
        return answer

    def join_as(
        self, member_id: str, *names: str, rebalance_ms: int = REBALANCE_MS, **said: Any
    ) -> ConsumerGroupHeartbeatResponse:
        """A first heartbeat."""
        if "subscribed_topic_regex" not in said:
            said["subscribed_topic_names"] = names
        return self.beat(member_id, 0, owned={}, rebalance_timeout_ms=rebalance_ms, **said)

    def assigned(self, answer: ConsumerGroupHeartbeatResponse) -> dict[str, list[int]] | None:
        """The assignment in an answer, by topic name."""
        if answer.assignment is None:
            return None
        listed = answer.assignment.topic_partitions
        return {self.known.topics_by_id[t.topic_id].name: list(t.partitions) for t in listed}

    def commit_as(
        self, member_id: str, epoch: int, topic: str, partition: int, **more: Any
    ) -> ErrorCode:
        """An OffsetCommit of a member."""
        from flowstream.broker.groups.commits import Claim, NewOffset

        topic_id = self.known.topics[topic].topic_id
        offset = NewOffset(TopicPartition(topic, partition), 1, topic_id=topic_id)
        group = more.get("group", "g")
        claim = Claim(member_id, None, epoch)
        version = more.get("version", 10)
        error, decision = self.core.commit(group, claim, [offset], self.now, version=version)
        self.take(decision)
        return error


class Client:
    """One consumer: what it knows of itself, and the partitions that it works on."""

    def __init__(self, broker: Consumers, number: int, **said: Any) -> None:
        self.broker = broker
        self.name = f"m{number}"
        self.said = said
        self.epoch = 0
        self.owned: dict[bytes, set[int]] = {}
        self.given: dict[bytes, set[int]] = {}
        self.in_group = False

    def join(self) -> None:
        """Begin, or begin again, with nothing."""
        self.epoch, self.owned, self.given = 0, {}, {}
        self._heard(
            self.broker.beat(self.name, 0, owned={}, rebalance_timeout_ms=REBALANCE_MS, **self.said)
        )

    def beat(self, *, deaf: bool = False, slow: bool = False) -> None:
        """Tell what is owned; `deaf`: the answer is lost; `slow`: what must be given up is still
        worked on."""
        if not self.in_group:
            self.join()
            return
        if not slow:
            self._give_up()
        answer = self.broker.beat(self.name, self.epoch, owned=self.owned)
        if not deaf:
            self._heard(answer)

    def leave(self) -> None:
        self.owned, self.given = {}, {}
        if self.in_group:
            self.broker.beat(self.name, -1)
        self.in_group = False

    def partitions(self) -> list[tuple[bytes, int]]:
        return [(topic_id, each) for topic_id, numbers in self.owned.items() for each in numbers]

    def _heard(self, answer: ConsumerGroupHeartbeatResponse) -> None:
        if answer.error_code:
            self.in_group = False
            self.owned, self.given = {}, {}
            return
        assert answer.member_epoch >= self.epoch, "G5: epochs only grow"
        self.in_group = True
        self.epoch = answer.member_epoch
        if answer.assignment is not None:
            listed = answer.assignment.topic_partitions
            self.given = {each.topic_id: set(each.partitions) for each in listed}
            for topic_id, numbers in self.given.items():
                # New ones are taken at once; others go with the next heartbeat.
                self.owned.setdefault(topic_id, set()).update(numbers)

    def _give_up(self) -> None:
        self.owned = {
            topic_id: numbers & self.given[topic_id]
            for topic_id, numbers in self.owned.items()
            if topic_id in self.given
        }
