"""One seed: clients, faults, crashes; then quiet, then a look at everything; then the checker's
verdict.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from flowstream.broker.storage.memory import MemoryStorage
from tests.checkers.history import GroupPartition, Partition
from tests.checkers.log import check
from tests.simulation.actors import (
    GROUP,
    PARTITIONS,
    TRANSACTION_TIMEOUT_MS,
    Names,
    Transactional,
    idempotent_producer,
)
from tests.simulation.machine import Machine
from tests.simulation.readers import Member, Reader, look_at_offsets
from tests.simulation.setting_up import create_topic
from tests.simulation.world import Faults, Instant, World

TROUBLE_MS = 10_000
LATEST_END_MS = 120_000
MEMBERS_GROUP = "members"


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed showed. `problems` is empty when no invariant was broken."""

    seed: int
    crashes: int
    operations: int
    problems: tuple[str, ...]
    digest: int
    """Equal for equal runs: a failing seed reproduces exactly."""


def simulate(seed: int, *, lies: bool = False) -> Result:
    """Run one seed to its end."""
    plan = random.Random(seed ^ 0x5EED)
    faults = Faults(
        drop=plan.choice([0.0, 0.005, 0.02]), duplicate=plan.choice([0.0, 0.03]), slow=0.03
    )
    world = World(seed, faults)
    machine = Machine(world, MemoryStorage(), lies=lies)
    world.broker = machine
    machine.start()
    world.start(create_topic(world))
    world.run(while_running=True)
    actors(world, plan)
    for _ in range(plan.randrange(0, 7)):
        world.later(plan.randrange(50, TROUBLE_MS), lambda: trip(machine))
    world.run(until=Instant(world.now + TROUBLE_MS))
    calm(world, machine)
    targets = [GroupPartition(GROUP, Partition(f"tx{i}", 0)) for i in range(3)]
    for partition in range(PARTITIONS):
        world.start(Reader(world, f"committed/{partition}", partition, True).drain())
        world.start(Reader(world, f"all/{partition}", partition, False).drain())
    world.start(look_at_offsets(world, targets, final=True))
    world.run(until=Instant(world.now + LATEST_END_MS))
    return verdict(world, machine)


def actors(world: World, plan: random.Random) -> None:
    """The usual crowd. Only protocol v2 promises that a late duplicate hits nothing (KIP-890), so
    transactional
    clients use v1 only where the network duplicates and delays nothing."""
    names = Names(world)
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


def verdict(world: World, machine: Machine) -> Result:
    """What the clients, the machine and the checker found."""
    if world.running:
        world.failures.append(f"V1: {world.running} final readers did not come to the end")
    problems = [*world.failures, *(str(anomaly) for anomaly in check(world.history))]
    digest = zlib.crc32(repr(world.history).encode())
    return Result(world.seed, machine.crashes, len(world.history), tuple(problems), digest)
