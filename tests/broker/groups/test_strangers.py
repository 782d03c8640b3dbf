"""Requests that no client would send: ids, instance ids, generations and epochs of anybody, of both
protocols, to one group. Whatever strangers say, the coordinator goes on, agrees with its log and
keeps its books (X4)."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator

import pytest

from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.group import ClassicGroup
from flowstream.broker.groups.room import weigh_consumer, weigh_identity, weigh_pattern
from flowstream.broker.types import TopicPartition
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.broker.groups.consumer_story import Consumers
from tests.broker.groups.test_migration import share, subscribed

STEPS = 60
MOST = 1 << 31
SAID = (
    subscribed("t"),
    subscribed("t", "u"),
    subscribed("t", t=(0,)),
    (("range", b"junk"),),
    (("range", b"junk"), ("other", b"")),
    (("other", b""),),
    (),
)


class Strangers:
    """One group, and what anybody may have heard of it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        choose = self.rng.choice
        self.broker = Consumers(
            seed,
            group_initial_rebalance_delay_ms=choose([0, 3_000]),
            group_consumer_migration_policy=choose(["bidirectional", "upgrade", "disabled"]),
            group_consumer_assignment_interval_ms=choose([0, 1_000]),
            group_max_size=choose([MOST - 1, 3]),
            group_consumer_max_size=choose([MOST - 1, 3]),
        )
        self.broker.create("t", 3)
        self.broker.create("u", 2)
        self.heard: deque[str] = deque(["m0"], maxlen=8)

    def step(self) -> str:
        """Somebody does something; what it was."""
        actions = {
            self.join: 8,
            self.sync: 8,
            self.heartbeat: 4,
            self.leave: 2,
            self.join_new: 6,
            self.beat: 8,
            self.leave_new: 2,
            self.commit: 4,
            self.administer: 3,
            self.wait: 4,
            self.broker.restart: 1,
        }
        (action,) = self.rng.choices(list(actions), list(actions.values()))
        action()
        return action.__name__

    def groups(self) -> list[ClassicGroup | ConsumerGroup]:
        core = self.broker.core
        return [*core.groups.values(), *core.consumers.values()]

    def anybody(self) -> tuple[str, str | None]:
        """A member id, and as a rule the instance id that belongs to it."""
        ids = ["", "x", *self.heard]
        for group in self.groups():
            ids += 2 * list(group.members)
            ids += 2 * list(getattr(group, "pending_joins", ()))
        member_id = self.rng.choice(ids)
        for group in self.groups():
            if member_id in group.members and self.rng.random() < 0.8:
                return member_id, group.members[member_id].instance_id
        return member_id, self.rng.choice([None, None, None, "a", "b"])

    def epoch(self) -> int:
        """A generation or member epoch, likely one that is in use."""
        epochs = [-1, 0, 1, 2]
        for group in self.groups():
            if isinstance(group, ClassicGroup):
                epochs += [group.generation] * 5
            else:
                for each in group.members.values():
                    epochs += [group.epoch, each.epoch, each.epoch, each.previous_epoch]
        return self.rng.choice(epochs)

    # What they do.

    def join(self) -> None:
        member_id, instance = self.anybody()
        version = self.rng.choice([0, 3, 4, 5, 8, 9, 9, 9])
        asked = self.broker.join(
            member_id,
            instance=instance if version >= 5 else None,
            version=version,
            protocols=self.rng.choice(SAID),
            protocol_type=self.rng.choice(["consumer"] * 6 + ["connect"]),
            rebalance_ms=self.rng.choice([0, 5_000, 30_000]),
        )
        answer = self.broker.answers.get(asked)
        self.heard.append(answer.member_id if answer else member_id)

    def sync(self) -> None:
        member_id, instance = self.anybody()
        classic = self.broker.core.groups.get("g")
        members = () if classic is None else classic.members
        listed = tuple(
            SyncGroupRequestAssignment(
                member_id=each, assignment=self.rng.choice([share(t=(number,)), b"", b"junk"])
            )
            for number, each in enumerate(members)
            if number < 3
        )
        protocol = "cooperative-sticky" if classic is None else classic.protocol
        body = SyncGroupRequest(
            group_id="g",
            generation_id=self.epoch(),
            member_id=member_id,
            group_instance_id=instance,
            protocol_type="consumer",
            protocol_name=protocol or "range",
            assignments=listed,
        )
        broker = self.broker
        broker.take(broker.core.sync(broker._request(body, 14, 5), broker.now))

    def heartbeat(self) -> None:
        member_id, instance = self.anybody()
        self.broker.heartbeat(member_id, self.epoch(), instance=instance)

    def leave(self) -> None:
        self.broker.leave(*(self.anybody() for _ in range(self.rng.choice([1, 1, 2]))))

    def join_new(self) -> None:
        member_id, instance = self.anybody()
        member_id = member_id or f"m{self.rng.randrange(4)}"
        self.heard.append(member_id)
        patience = self.rng.choice([0, 5_000, 20_000])
        said = {"rebalance_timeout_ms": patience, **self.subscription()}
        self.broker.beat(member_id, 0, owned={}, instance_id=instance, **said)

    def beat(self) -> None:
        member_id, instance = self.anybody()
        group = self.broker.core.consumers.get("g")
        owned = None
        if group is not None and member_id in group.members and self.rng.random() < 0.8:
            owned = self.rng.choice([{}, dict(group.members[member_id].assigned)])
        said = self.rng.choice([{}, {}, self.subscription()])
        self.broker.beat(member_id, self.epoch(), owned=owned, instance_id=instance, **said)

    def leave_new(self) -> None:
        member_id, instance = self.anybody()
        self.broker.beat(member_id, self.rng.choice([-1, -2]), instance_id=instance)

    def commit(self) -> None:
        (member_id, instance), epoch = self.anybody(), self.epoch()
        producer = self.rng.randrange(3)
        match self.rng.randrange(3):
            case 0:
                self.broker.commit(1, member_id, epoch, instance=instance)
            case 1:
                self.broker.commit_in_transaction(1, producer, member_id, epoch, instance=instance)
            case _:
                self.broker.end(producer, commit=self.rng.random() < 0.5)

    def administer(self) -> None:
        broker, topics = self.broker, self.broker.known.topics
        name = self.rng.choice(["t", "u"])
        match self.rng.randrange(4):
            case 0:
                broker.take(broker.core.delete("g")[1])
            case 1:
                for _, decision in broker.core.partitions_deleted([TopicPartition("t", 0)]):
                    broker.take(decision)
            case 2 if name in topics:
                broker.delete(name)
            case _:
                has = len(topics[name].partitions) if name in topics else 0
                broker.create(name, min(has + 1, 8))

    def wait(self) -> None:
        self.broker.wait(self.rng.choice([1, 1_000, 3_000, 6_000, 31_000, 46_000, 700_000_000]))

    def subscription(self) -> dict[str, object]:
        return self.rng.choice(
            [
                {"subscribed_topic_names": ("t",)},
                {"subscribed_topic_names": ("t", "u")},
                {"subscribed_topic_names": ()},
                {"subscribed_topic_regex": "t|u.*"},
            ]
        )


def wrong(broker: Consumers) -> Iterator[str]:
    """What does not add up."""
    core = broker.core
    if broker.replayed().durable() != core.durable():
        yield "the log says something else"
    if core.groups.keys() & core.consumers.keys():
        yield "a group of two kinds"
    for classic in core.groups.values():
        yield from wrong_in_classic(classic)
    for group in core.consumers.values():
        yield from wrong_in_consumer(group)


def wrong_in_classic(group: ClassicGroup) -> Iterator[str]:
    members = group.members
    weight = sum(each.weight for each in members.values())
    if group.weight != weight + sum(map(weigh_identity, group.pending_joins)):
        yield "weight"
    if group.offered != Counter(n for each in members.values() for n in dict(each.protocols)):
        yield "protocols that are offered"
    if group.joins_waiting != sum(each.awaiting_join is not None for each in members.values()):
        yield "joins that wait"
    named = {m.instance_id: m.member_id for m in members.values() if m.instance_id is not None}
    if group.static_members != named:
        yield "instance ids"
    if (group.leader is not None or members) and group.leader not in members:
        yield "the leader"
    for each in members.values():
        waits = each.awaiting_join is not None or each.awaiting_sync is not None
        if not waits and ("session", each.member_id) not in group.timers:
            yield "a member that never goes"
    if any(("session", each) not in group.timers for each in group.pending_joins):
        yield "an id that is awaited for ever"


def wrong_in_consumer(group: ConsumerGroup) -> Iterator[str]:
    members = group.members
    weight = sum(weigh_consumer(each) for each in members.values())
    patterns = sum(weigh_pattern(name, each.topics) for name, each in group.regexes.items())
    if group.weight != weight + patterns:
        yield "weight"
    has = [(t, p) for each in members.values() for t, p, _ in each.owned()]
    if len(has) != len(set(has)) or group.owners.keys() != set(has):
        yield "G4: owners"
    named = {m.instance_id: m.member_id for m in members.values() if m.instance_id is not None}
    if group.static_members != named:
        yield "instance ids"
    if any(("session", each) not in group.timers for each in members):
        yield "a member that never goes"
    if group.targets.keys() - members.keys():
        yield "a target of nobody"


@pytest.mark.parametrize("seed", range(100))
def test_G4_X4_whatever_strangers_say(seed: int) -> None:
    strangers = Strangers(seed)
    done = []
    for _ in range(STEPS):
        done.append(strangers.step())
        assert not list(wrong(strangers.broker)), f"seed {seed}: {done}"
