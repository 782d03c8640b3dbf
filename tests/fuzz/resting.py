"""What must be so after any inputs: a restart knows what was known, whoever is gone has left
nothing behind, and an innocent client is served.
"""

from __future__ import annotations

from typing import Any

from flowstream.broker.cores import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, Cores
from flowstream.broker.events import Tick
from flowstream.broker.transactions.states import ONGOING, PREPARED
from flowstream.broker.types import Instant
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from tests.broker.machine import Machine, batch
from tests.fuzz.watch import Finding

LONG_MS = 9 * 24 * 3600 * 1000
"""Longer than any timeout: of sessions, transactions, producers, offsets."""
TICKS = 400
OWN_CONFIGS = (
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("max.message.bytes", "1000000"),
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.before.max.ms", str(2**63 - 1)),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
)


def ends(cores: Cores) -> list[int]:
    """Where every log ends: nothing durable happens without one of them growing."""
    return [cores.metadata_log.log_end, *(log.log_end for log in cores.logs.by_name.values())]


def durable(cores: Cores) -> dict[str, Any]:
    """All that a restart must know again."""
    return {
        "topics": {name: topic.topic_id for name, topic in cores.image.topics.items()},
        "settings": {name: cores.image.topic_configs(name) for name in cores.image.topics},
        "logs": {
            str(name): (log.log_start, log.log_end, log.high_watermark, log.last_stable)
            for name, log in cores.logs.by_name.items()
            if not name.topic.startswith("__")
        },
        "producers": {
            str(name): {
                each.producer_id: (each.epoch, list(each.batches)) for each in log.producers
            }
            for name, log in cores.logs.by_name.items()
        },
        "groups": cores.groups.durable(),
        "transactions": {
            name: (each.producer_id, each.producer_epoch, each.state, each.partitions)
            for name, each in cores.transactions.transactions.items()
        },
    }


def forgetful(cores: Cores) -> set[str]:
    """What is known from a log that a client has put under retention: that is its wish, which
    Kafka obeys, too.
    """
    topics = {name.topic for name, log in cores.logs.by_name.items() if log.config.delete}
    kept_in = {"groups": OFFSETS_TOPIC, "transactions": TRANSACTIONS_TOPIC}
    return {part for part, topic in kept_in.items() if topic in topics}


def same(machine: Machine) -> None:
    """Restart, and compare. Everything is synced before: nothing may be lost."""
    machine.settle()
    before = durable(machine.cores)
    for part in forgetful(machine.cores):
        del before[part]
    machine.crash()
    after = durable(machine.cores)
    for partition, known in before["producers"].items():
        # Expiry goes by arrival (P2): the restart may know more.
        again = after["producers"][partition]
        for producer_id in again.keys() - known.keys():
            del again[producer_id]
    for name, value in before.items():
        if after[name] != value:
            raise Finding(f"{name} after a restart: {after[name]!r:.3000}\nbefore: {value!r:.3000}")


def at_rest(machine: Any) -> None:
    """Everyone leaves and a long time passes: nothing is kept for them."""
    for connection in list(machine.sessions):
        machine.leave(connection)
    machine.settle()
    _take_turns(machine)
    _nobody_waits(machine.cores)
    for number in range(TICKS):
        due = machine.node.deadline()
        if due is None or (number > 20 and due > machine.now):
            break
        machine.now = Instant(max(due, machine.now + (LONG_MS // 20 if number < 20 else 0)))
        machine.carry_out(machine.node.handle(Tick(), machine.now))
        machine.settle()
    machine.replies.clear()
    _nothing_is_kept(machine.cores, machine.now)


def _take_turns(machine: Any) -> None:
    """What goes on in the next turn is done whoever leaves."""
    for _ in range(TICKS):
        due = machine.node.deadline()
        if due is None or due > machine.now + 1:
            break
        machine.now = Instant(max(due, machine.now))
        machine.carry_out(machine.node.handle(Tick(), machine.now))
        machine.settle()


def _nobody_waits(cores: Cores) -> None:
    waiting = cores.waiting
    _none("requests parked", waiting._alive)
    _none("partitions waited for", len(waiting._by_partition))
    _none("connections waited for", len(waiting._by_connection))
    _none("write groups", len(waiting.groups))
    if cores.sasl is not None:
        _none("logins", len(cores.sasl._logins))
    sessions = cores.fetch_sessions
    held = [len(each.partitions) for each in sessions._by_id.values()]
    watched = sum(
        partition.watched is not None
        for each in sessions._by_id.values()
        for partition in each.partitions.values()
    )
    _equal("partitions of fetch sessions", sessions.partitions, sum(held))
    _equal("watchers", sum(map(len, waiting._watchers.values())), watched)


def _nothing_is_kept(cores: Cores, now: Instant) -> None:
    groups = cores.groups
    _none("members of groups", sum(len(group.members) for group in groups.groups.values()))
    _none("members of consumer groups", sum(len(g.members) for g in groups.consumers.values()))
    stuck = [
        name
        for name, each in cores.transactions.transactions.items()
        if each.state is ONGOING or each.state in PREPARED
    ]
    _none(f"open transactions ({stuck})", len(stuck))
    for name, log in cores.logs.by_name.items():
        _equal(f"last stable offset of {name}", log.last_stable, log.high_watermark)
        old = [
            each.producer_id
            for each in log.producers
            if now - each.seen > log.config.producer_expiration_ms + 2 * LONG_MS // 20
        ]
        _none(f"producers of {name} long silent", len(old))


def _none(what: str, count: int) -> None:
    if count:
        raise Finding(f"{count} {what} when everyone was gone")


def _equal(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise Finding(f"{what}: {found} instead of {wanted}")


def innocent(machine: Machine) -> None:
    """A client that did nothing wrong writes and reads back, before and after a crash."""
    configs = tuple(CreatableTopicConfig(name=name, value=value) for name, value in OWN_CONFIGS)
    topic = CreatableTopic(name="innocent", num_partitions=1, replication_factor=1, configs=configs)
    made = machine.ask(CreateTopicsRequest(topics=(topic,), timeout_ms=1000), 5)
    assert made.topics[0].error_code == 0, made
    produced = machine.produce("innocent", 0, batch(b"1"))
    assert produced.error_code == 0, produced
    assert machine.read("innocent") == [b"1"]
    machine.crash()
    assert machine.read("innocent") == [b"1"]
