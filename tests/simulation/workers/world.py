"""One seed: an app of some kind, workers that come, go and die, a network that misbehaves; then
quiet, and a look at what is committed.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowstream.processing.commit import ORDER
from flowstream.state.changelog import fold
from flowstream.testing.lives import Killed, Life
from flowstream.testing.memory_broker import MemoryBroker, MemoryCluster, Network
from flowstream.testing.memory_fetching import Rest
from flowstream.testing.places import Places
from flowstream.testing.virtual import Stalled, VirtualLoop
from flowstream.transport.admin import Admin
from flowstream.transport.errors import TransportError
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import LogRecord, NewTopic, TopicPartition
from tests.simulation.workers.looking import is_inner, open_again, plain, reaches, read
from tests.simulation.workers.network import Faulty
from tests.simulation.workers.scenario import Record, Scenario, Seen

START_MS = 1_000_000_000_000
TROUBLE_S = 12.0
QUIET_S = 180.0
"""After trouble everything must be done within this time (V1), with all timeouts added up."""
STEPS = [step.value for step in ORDER["exactly_once"]]
BROKER = {"group.min.session.timeout.ms": "1000", "log.cleaner.enable": "true"}


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed showed. `problems` is empty when no invariant was broken."""

    seed: int
    kind: str
    kills: int
    holds: int
    aborts: int
    records: int
    problems: tuple[str, ...]
    digest: int
    """Equal for equal runs: a failing seed reproduces exactly."""


@dataclass(slots=True)
class World:
    """Everything of one run."""

    seed: int
    scenario: Scenario
    rng: random.Random
    loop: VirtualLoop
    broker: MemoryBroker
    network: Faulty
    places: Places
    settings: dict[str, float]
    planted: Callable[[World, Life], None] | None = None
    lives: list[Life] = field(default_factory=list)
    kills: int = 0
    holds: int = 0
    aborts: int = 0
    problems: list[str] = field(default_factory=list)
    doomed: tuple[str, int] | None = None
    over: bool = False

    # -- workers --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a worker."""
        app = self.scenario.declare({**self.settings})
        life = Life(
            app, self.broker, self.network, self.places, self.checkpoint,
            rest=Rest(), fetch_wait_ms=500,
        )  # fmt: skip
        life.doors.looks_around = self.scenario.looks_around
        self.lives.append(life)
        if self.planted is not None:
            self.planted(self, life)
        life.running.add_done_callback(lambda _: self.ended(life))

    def ended(self, life: Life) -> None:
        """A worker is through: by kill, by request, or because it gave up, which it never may."""
        if life in self.lives:
            self.lives.remove(life)
        running = life.running
        if life.is_dead or running.cancelled():
            return
        if running.exception() is None:
            if not life.worker.wants_stop:
                self.problems.append("V1: a worker ended without being asked to")
            return
        error = running.exception()
        if life.worker._members is None and isinstance(error, TransportError):
            # Without a broker a worker does not start: whoever started it tries again.
            self.loop.call_later(self.rng.uniform(0.0, 2.0), self.replace)
            return
        self.problems.append(f"V1: a worker gave up: {error!r}")

    def checkpoint(self, life: Life, step: str) -> None:
        """Before each step of a commit: somebody may be due to die here."""
        if self.doomed is None or self.doomed[0] != step:
            return
        name, left = self.doomed
        self.doomed = (name, left - 1) if left else None
        if not left:
            self.kill(life)

    def kill(self, life: Life) -> None:
        """kill -9; another worker comes after a while."""
        if life.is_dead or self.over:
            return
        self.kills += 1
        if life in self.lives:
            self.lives.remove(life)
        life.kill()
        self.loop.call_later(self.rng.uniform(0.0, 2.0), self.replace)

    def replace(self) -> None:
        """Somebody restarts what died."""
        if not self.over:
            self.begin()

    # -- trouble --------------------------------------------------------------------------------

    async def trouble(self) -> None:
        """Bad luck at random moments."""
        until = self.loop.time() + TROUBLE_S
        while self.loop.time() < until:
            await asyncio.sleep(self.rng.expovariate(1.0))
            act = self.rng.choice(
                ["kill", "kill", "doom", "doom", "doom", "hold", "join", "leave", "lose", "fence"]
            )
            await self.act(act)

    async def act(self, act: str) -> None:
        """One piece of bad luck."""
        life = self.rng.choice(self.lives) if self.lives else None
        if act == "doom":
            self.doomed = (self.rng.choice(STEPS), self.rng.choice([0, 0, 1, 5]))
        elif act == "join" and len(self.lives) < 3:
            self.begin()
        elif life is None:
            return
        elif act == "kill":
            self.kill(life)
        elif act == "lose":
            self.kill(life)
            self.places.lose()
        elif act == "hold":
            self.hold(life, self.rng.choice([0.5, 3.0, 6.0, 12.0]))
        elif act == "leave" and len(self.lives) > 1:
            life.worker.stop()
        elif act == "fence":
            await self.fence(life)

    def hold(self, life: Life, seconds: float) -> None:
        """A zombie: the worker goes on, but nothing of it arrives for so long."""
        self.holds += 1
        for cluster in life.doors.clusters:
            self.network.hold(cluster, seconds)

    async def fence(self, life: Life) -> None:
        """Its transaction is aborted and its epoch is over, as after a transaction timeout."""
        session = life.worker._session
        if session is None:
            return
        self.aborts += 1
        cluster = MemoryCluster(self.broker, Network(), "fencer")
        other = TransactionSession(cluster, session.transactional_id)
        try:
            await cluster.connect()
            await other.init()
        except TransportError as error:
            self.problems.append(f"the fencer failed: {error!r}")

    # -- input and output -----------------------------------------------------------------------

    async def feed(self, producer: IdempotentProducer, admin: Admin) -> None:
        """Put the records in, in order, over the time of trouble."""
        pause = TROUBLE_S * 0.8 / max(1, len(self.scenario.feeds))
        for each in self.scenario.feeds:
            value = None if each.value is None else each.value.encode()
            target = TopicPartition(each.topic, each.partition)
            if target not in self.broker.node.cores.logs.by_name:
                await self.create(admin, {each.topic: self.scenario.partitions})
            await producer.send(target, each.key.encode(), value, each.at_ms)
            if self.rng.random() < 0.5:
                await asyncio.sleep(self.rng.uniform(0, 4 * pause))

    async def prepare(self, admin: Admin) -> None:
        """The topics that the app reads, and those it writes."""
        topics = self.scenario.declare({**self.settings}).topics.values()
        named = [topic for topic in topics if topic.pattern is None]
        await self.create(admin, {topic.name: topic.partitions or 1 for topic in named})

    async def create(self, admin: Admin, partitions: Mapping[str, int]) -> None:
        """Topics that keep what is old."""
        forever = {"retention.ms": "-1"}
        await admin.create_topics(
            [NewTopic(name, count, 1, forever) for name, count in partitions.items()]
        )

    async def is_done(self, admin: Admin) -> bool:
        """Whether the group has committed all that its topics hold, and the workers rest."""
        offsets = await admin.group_offsets("sim")
        logs = self.broker.node.cores.logs.by_name
        inputs = {feed.topic for feed in self.scenario.feeds}
        inputs |= {tp.topic for tp in logs if is_inner(tp.topic)}
        for name, log in logs.items():
            end = log.high_watermark
            if name.topic in inputs and end and not reaches(log, offsets, name, end):
                return False
        return True

    async def seen(self, cluster: MemoryCluster) -> Seen:
        """Everything that is committed."""
        logs: dict[str, list[list[Record]]] = {}
        rows: dict[str, list[dict[bytes, bytes]]] = {}
        for name in sorted(self.broker.node.cores.logs.by_name):
            if name.topic.startswith("__"):
                continue
            found = await read(cluster, TopicPartition(*name), *self.span_of(name))
            if name.topic.endswith("-changelog"):
                table = name.topic.removeprefix("sim-").removesuffix("-changelog")
                folded: dict[bytes, bytes | None] = {}
                fold(found, folded)
                kept = {key: value for key, value in folded.items() if value is not None}
                rows.setdefault(table, []).append(kept)
                self.compare(table, name[1], found)
            else:
                logs.setdefault(name.topic, []).append([plain(record) for record in found])
        return Seen(logs, rows)

    def span_of(self, name: Any) -> tuple[int, int]:
        """Where the committed records of a partition begin and end."""
        log = self.broker.node.cores.logs.by_name[name]
        return log.log_start, log.last_stable

    def compare(self, table: str, number: int, records: list[LogRecord]) -> None:
        """S1, S10: every store is the fold of its changelog up to where it says it is."""
        for slot in self.places.slots.values():
            store = slot._stores.get((table, number))
            if store is None or store.changelog_offset is None:
                continue
            rows: dict[bytes, bytes | None] = {}
            fold([record for record in records if record.offset < store.changelog_offset], rows)
            truth = {key: value for key, value in rows.items() if value is not None}
            held = dict(open_again(store).scan())
            if not self.scenario.is_fenced:
                # Between what this worker wrote there may be what another one wrote late.
                written = {(r.key, r.value) for r in records if r.offset < store.changelog_offset}
                truth |= held.items() & written
                held = {**truth, **held}
            if held != truth:
                self.problems.append(
                    f"S10: the store of {table}-{number} in slot {slot.number} is not the fold of"
                    f" its changelog up to {store.changelog_offset}: {held!r} {truth!r}"
                )


async def live(world: World) -> Seen | None:
    """From the first worker to the last look."""
    cluster = MemoryCluster(world.broker, Network(), "judge")
    await cluster.connect()
    admin, producer = Admin(cluster), IdempotentProducer(cluster)
    await world.prepare(admin)
    for _ in range(world.rng.randint(1, 3)):
        world.begin()
    await asyncio.gather(world.feed(producer, admin), world.trouble())
    world.doomed = None
    world.network.heal()
    until = world.loop.time() + QUIET_S
    await asyncio.sleep(2.5)  # whoever was to be started again is
    if not world.lives:
        world.begin()
    while world.loop.time() < until and not world.problems:
        if await world.is_done(admin):
            break
        if not world.lives:
            world.begin()  # the last one was asked to leave, and took its time
        await asyncio.sleep(0.5)
    else:
        if not world.problems:
            world.problems.append(f"V1: not done {QUIET_S:g} s after the trouble")
        return None
    # What comes due after the last input: idle sources, timers, and what follows from them.
    await asyncio.sleep(world.scenario.quiet_s + 2 * world.settings["source_idle"] + 3)
    world.over = True
    stopping = list(world.lives)
    for life in stopping:
        life.worker.stop()
    await asyncio.wait([life.running for life in stopping], timeout=10.0)
    if any(not life.running.done() for life in stopping):
        world.problems.append("V4: a worker did not stop within 10 s")
    return await world.seen(cluster)


def simulate(
    seed: int, kinds: Iterable[Callable[[random.Random], Scenario]],
    planted: Callable[[World, Life], None] | None = None,
) -> Result:  # fmt: skip
    """Run one seed to its end."""
    rng = random.Random(seed)
    choices = list(kinds)
    scenario = choices[seed % len(choices)](rng)
    loop = VirtualLoop(START_MS)
    loop.set_exception_handler(_quietly)
    settings = {
        "commit_interval": rng.choice([0.02, 0.1, 0.3]),
        "session_timeout": rng.choice([2.0, 5.0]),
        "transaction_timeout": rng.choice([2.0, 8.0]),
        "source_idle": 5.0,
        "retry_backoff": 0.05,
        # In every third world a partition is paused as soon as a record waits.
        "max_buffered_records": 1 if seed % 3 == 0 else 1_000,
        **scenario.settings,
    }
    try:
        with loop.entered():
            broker = MemoryBroker(loop, rng, BROKER)
            network = Faulty(broker, rng, rng.choice([0.0, 0.01, 0.05]), rng.choice([0.0, 0.03]))
            flush_every = rng.choice([None, 1, 4])
            places = Places(rng, lambda: loop.now_ms, flush_every)
            world = World(seed, scenario, rng, loop, broker, network, places, settings, planted)
            seen = _to_the_end(world)
        if seen is not None:
            world.problems += scenario.judge(seen)
        shown = repr(sorted(seen.logs.items())) if seen is not None else ""
        digest = zlib.crc32(shown.encode(), world.kills) ^ zlib.crc32(
            str(network.requests).encode()
        )
        return Result(
            seed, scenario.kind, world.kills, world.holds, world.aborts,
            len(scenario.feeds), tuple(world.problems), digest,
        )  # fmt: skip
    finally:
        _sweep(loop)


def _to_the_end(world: World) -> Seen | None:
    try:
        return world.loop.run_until_complete(live(world))
    except Stalled as error:
        world.problems.append(f"V1: {error}")
        return None


def _sweep(loop: VirtualLoop) -> None:
    with loop.entered():
        left = loop.pending()
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=30.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _quietly(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    if not isinstance(told.get("exception"), Killed | TransportError):
        loop.default_exception_handler(told)
