"""One seed: clients, faults, crashes; then quiet, then a look at everything; then the checker's
verdict.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flowstream.broker.handlers import slicing
from flowstream.broker.storage.memory import MemoryStorage
from tests.checkers.history import GroupPartition, Operation, Partition, Watermarks
from tests.checkers.log import check
from tests.simulation.actors import (
    GROUP,
    PARTITIONS,
    TRANSACTION_TIMEOUT_MS,
    Names,
    Transactional,
    idempotent_producer,
)
from tests.simulation.consumers import Consumer, Owners
from tests.simulation.machine import Machine
from tests.simulation.readers import Member, Reader, look_at_offsets
from tests.simulation.reborn import Reborn, is_reborn
from tests.simulation.setting_up import create_topic, slices_of
from tests.simulation.table import TABLE, TABLE_CONFIGS, Table
from tests.simulation.world import Faults, Instant, World

TROUBLE_MS = 10_000
LATEST_END_MS = 120_000
MEMBERS_GROUP = "members"
CONSUMERS_GROUP = "consumers"


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed showed. `problems` is empty when no invariant was broken."""

    seed: int
    crashes: int
    operations: int
    problems: tuple[str, ...]
    digest: int
    """Equal for equal runs: a failing seed reproduces exactly."""


def simulate(seed: int, *, lies: bool = False, hoards: bool = False) -> Result:
    """Run one seed to its end; `lies` and `hoards` are bugs to be found (see `Machine`). Each
    fourth seed runs under durability `os`, where a crash takes the process alone; in each third
    topics are prepared partition by partition.
    """
    with slices_of(1 if seed % 3 == 1 else slicing.SLICE):
        return _simulate(seed, lies=lies, hoards=hoards)


def _simulate(seed: int, *, lies: bool, hoards: bool) -> Result:
    plan = random.Random(seed ^ 0x5EED)
    faults = Faults(
        drop=plan.choice([0.0, 0.005, 0.02]), duplicate=plan.choice([0.0, 0.03]), slow=0.03
    )
    world = World(seed, faults)
    fsync = seed % 4 != 3 or lies or hoards
    machine = Machine(world, MemoryStorage(), fsync=fsync, lies=lies, hoards=hoards)
    world.broker = machine
    machine.start()
    world.start(create_topic(world))
    world.start(create_topic(world, TABLE, 1, TABLE_CONFIGS))
    world.run(while_running=True)
    names = Names(world)
    table = Table(world, names)
    actors(world, plan, names)
    table_actors(table)
    for _ in range(plan.randrange(0, 7)):
        world.later(plan.randrange(50, TROUBLE_MS), lambda: trip(machine))
    world.run(until=Instant(world.now + TROUBLE_MS))
    calm(world, machine)
    for committed_only in (True, False):
        world.start(table.reader(f"drain/{committed_only}", committed_only=committed_only).drain())
    targets = [GroupPartition(GROUP, Partition(f"tx{i}", 0)) for i in range(3)]
    for partition in range(PARTITIONS):
        world.start(Reader(world, f"committed/{partition}", partition, True).drain())
        world.start(Reader(world, f"all/{partition}", partition, False).drain())
    world.start(look_at_offsets(world, targets, final=True))
    world.run(until=Instant(world.now + LATEST_END_MS))
    return verdict(world, machine, table)


def table_actors(table: Table) -> None:
    """Writers and readers of the compacted topic, and topics that come and go."""
    world = table.world
    until = Instant(world.now + TROUBLE_MS)
    world.start(table.plain("table/plain", until))
    for index in range(2):
        world.start(table.transactional(f"table/tx{index}", until))
    world.start(table.reader("live", committed_only=True).live(until))
    world.start(table.short_lives(until))


def actors(world: World, plan: random.Random, names: Names) -> None:
    """The usual crowd. Only protocol v2 promises that a late duplicate hits nothing (KIP-890), so
    transactional
    clients use v1 only where the network duplicates and delays nothing."""
    until = Instant(world.now + TROUBLE_MS)
    tame = world.faults.duplicate == 0
    for index in range(2):
        world.start(idempotent_producer(world, names, f"p{index}", until))
    for index in range(3):
        v2 = not tame or plan.random() < 0.6
        client = Transactional(world, names, f"tx{index}", v2=v2)
        world.start(client.live(until))
    for partition in range(PARTITIONS):
        for committed_only in (True, False):
            name = f"reader/{partition}/{committed_only}"
            world.start(Reader(world, name, partition, committed_only).live(until))
    commits: dict[int, tuple[int, int]] = {}
    for _ in range(3):
        world.start(Member(world, MEMBERS_GROUP, 4, commits).live(until))
    owners = Owners()
    for index in range(3):
        world.start(Consumer(world, CONSUMERS_GROUP, f"c{index}", owners).live(until))
    if tame:
        for index in range(2):
            world.start(Reborn(world, index).live(until))


def trip(machine: Machine) -> None:
    """Lose power now, or at one of the next disk operations."""
    if machine.node is None:
        return
    if machine.world.rng.random() < 0.3:
        machine.crash()
    else:
        storage = machine.storage
        storage.crash_at(storage.operations + machine.world.rng.randrange(0, 60))


def calm(world: World, machine: Machine) -> None:
    """The faults stop; what lives ends by itself, and open transactions reach their timeout (V1,
    T10).
    """
    world.faults = Faults()
    machine.storage.crash_at(None)
    deadline = Instant(world.now + LATEST_END_MS)
    world.later(LATEST_END_MS, lambda: None)
    world.run(until=deadline, while_running=True)
    if world.running:
        world.failures.append(
            f"V1: {world.running} clients made no progress after the faults had stopped"
        )
    world.run(until=Instant(world.now + 3 * TRANSACTION_TIMEOUT_MS))


def verdict(world: World, machine: Machine, table: Table) -> Result:
    """What the clients, the machine and the checker found."""
    if world.running:
        world.failures.append(f"V1: {world.running} final readers did not come to the end")
    # A late duplicate of a CreateTopics may have made one anew.
    known = machine.node.cores.image.topics if machine.node is not None else {}
    deleted = {topic for topic in table.deleted if topic not in known}
    left = [name for name in machine.storage.names("") if name.rpartition("-")[0] in deleted]
    if left:
        world.failures.append(f"D5: directories of deleted topics are there again: {left}")
    anomalies = [*check(list(_lasting(world.history))), *table.problems()]
    problems = [*world.failures, *(str(anomaly) for anomaly in anomalies)]
    views = [reader.view() for reader in table.readers]
    digest = zlib.crc32(repr((world.history, table.sent, views)).encode())
    return Result(world.seed, machine.crashes, len(world.history), tuple(problems), digest)


def _lasting(history: Iterable[Operation]) -> Iterator[Operation]:
    """The history without the watermarks of topics whose names are used again: they begin anew with
    every life.
    """
    for operation in history:
        if not (isinstance(operation, Watermarks) and is_reborn(operation.partition.topic)):
            yield operation
