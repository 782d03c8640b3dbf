"""The simulated machine: drives the node as the real driver does, on a disk that forgets what was
not synced; under durability `os` nothing is synced, and only the process dies.

A crash comes between two disk operations, inside a sync or at any other moment; the next life
starts from what the disk kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flowstream.broker.doors import Operation, Replace, Storage
from flowstream.broker.effects import Close, Effect, Reply, Write
from flowstream.broker.events import Disconnected, Durable, Event, Request, Tick
from flowstream.broker.log.checkpoints import RECOVERY_POINT, decode_offsets, encode_offsets
from flowstream.broker.log.journal import BLOCK, SALT_BYTES
from flowstream.broker.node import Node
from flowstream.broker.storage.journaled import JournaledStorage
from flowstream.broker.storage.memory import Crashed, MemoryStorage
from flowstream.broker.types import ConnectionId, Instant, ReplyTo
from flowstream.errors import FlowstreamError, WireError
from flowstream.wire.frame import decode_request
from tests.simulation.boot import boot
from tests.simulation.readers import stated
from tests.simulation.world import World

JOURNAL_BYTES = 8 * BLOCK
"""Small, so that the journal files take turns often."""

CHECKPOINT_MS = 700
"""Recovery points are written far more often than by a real broker."""


@dataclass(slots=True)
class Machine:
    """One broker process at a time on one disk, with a bug planted on request: one that `lies` says
    durable before the sync, one that `hoards` keeps recovery points of topics that are no more.
    """

    world: World
    storage: MemoryStorage
    fsync: bool = True
    lies: bool = False
    hoards: bool = False
    disk: Storage | None = None
    node: Node | None = None
    life: int = 0
    crashes: int = 0
    _unsynced: set[str] = field(default_factory=set)
    _written: int = 0
    _syncing: bool = False
    _tick_at: int | None = None

    def start(self) -> None:
        """Boot from the disk; a crash during recovery starts over later (D5)."""
        self.life += 1
        self._unsynced, self._written, self._syncing, self._tick_at = set(), 0, False, None
        self.disk = self._journaled() if self.fsync else self.storage
        rng, now = self.world.rng, self.world.now
        try:
            self.node = boot(self.disk, self._perform, rng, now, fsync=self.fsync)
            self._carry_out(self.node.start(self.world.now))
            self._end_turn()
        except Crashed:
            self.crash()
        except FlowstreamError as error:
            self.node = None
            self.world.failures.append(f"D5: refused to start after a crash: {error}")

    def _journaled(self) -> JournaledStorage:
        salt = self.world.rng.randbytes(SALT_BYTES)
        return JournaledStorage(self.storage, self.storage, salt, journal_bytes=JOURNAL_BYTES)

    def crash(self) -> None:
        """Power is lost now, under durability `os` only the process; it comes back after a
        while.
        """
        self.crashes += 1
        self.node = None
        if self.fsync:
            self.storage.crash(self.world.rng)
        else:
            self.storage.kill(self.world.rng)
        self.world.reset_connections()
        self.world.later(self.world.rng.randrange(20, 600), self.start)

    # what the network calls

    def request(self, connection: ConnectionId, frame: memoryview) -> bool:
        """Decode and hand in; a broker that is down hears nothing."""
        if self.node is None:
            return False
        request = decode_request(frame)
        to = ReplyTo(connection, request.correlation_id, request.key, request.version)
        self._handle(Request(to, request.client_id, "127.0.0.1", request.body))
        return True

    def disconnected(self, connection: ConnectionId) -> None:
        """The peer is gone."""
        self._handle(Disconnected(connection))

    # the driver's part

    def _handle(self, event: Event) -> None:
        if self.node is None:
            return
        try:
            self._carry_out(self.node.handle(event, self.world.now))
            self._end_turn()
            if isinstance(event, Durable) and not self._syncing:
                self._check_ends()
        except WireError as error:
            self.world.failures.append(f"a client's request was refused as malformed: {error}")
        except Crashed:
            self.crash()

    def _check_ends(self) -> None:
        """What is all durable is all readable."""
        assert self.node is not None
        for log in self.node.cores.logs.by_name.values():
            if log.high_watermark != log.log_end:
                ends = f"{log.high_watermark} of {log.log_end}"
                self.world.failures.append(f"L6: {log.name} is durable and readable to {ends}")

    def _perform(self, operations: Iterable[Operation]) -> None:
        assert self.disk is not None
        wanted = list(operations)
        if self.hoards:
            wanted = [self._hoarded(operation) for operation in wanted]
        self._unsynced |= self.disk.perform(wanted)

    def _hoarded(self, operation: Operation) -> Operation:
        path = RECOVERY_POINT
        if not isinstance(operation, Replace) or operation.path != path:
            return operation
        if self.storage.size(path) is None:
            return operation
        known = decode_offsets(self.storage.read(path, 0, 1 << 20), path)
        return Replace(path, encode_offsets(known | decode_offsets(bytes(operation.data), path)))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Write):
                self._perform(effect.operations)
            elif isinstance(effect, Reply):
                self.world.history.extend(stated(effect.to, effect.body))
                self.world.reply(effect.to, effect.body)
            elif isinstance(effect, Close):
                self.world.failures.append(f"X4: a legal client was cut off: {effect.reason}")

    def _end_turn(self) -> None:
        assert self.node is not None
        while (group := self.node.close_group()) is not None:
            self._written = group
            if self.fsync and not self.lies:
                break
            self._carry_out(self.node.handle(Durable(group), self.world.now))
        if self._written and not self._syncing and self.fsync:
            self._sync()
        self._arm()

    def _sync(self) -> None:
        """One sync covers all groups written so far; the next group forms meanwhile."""
        self._syncing = True
        life, group, paths = self.life, self._written, self._unsynced
        self._unsynced, self._written = set(), 0
        self.world.later(self.world.rng.randrange(1, 8), lambda: self._synced(life, group, paths))

    def _synced(self, life: int, group: int, paths: set[str]) -> None:
        if life != self.life or self.node is None:
            return
        try:
            assert self.disk is not None
            self.disk.sync(paths)
            self._syncing = False
            if self.lies:
                self._end_turn()
        except Crashed:
            self.crash()
            return
        if not self.lies:
            self._handle(Durable(group))

    def _arm(self) -> None:
        assert self.node is not None
        cores = self.node.cores
        soon = Instant(self.world.now + CHECKPOINT_MS)
        cores.checkpoint_at = min(soon, cores.checkpoint_at or soon)
        deadline = self.node.deadline()
        if deadline is None or (self._tick_at is not None and self._tick_at <= deadline):
            return
        self._tick_at = deadline
        life = self.life
        self.world.later(max(0, deadline - self.world.now), lambda: self._tick(life, deadline))

    def _tick(self, life: int, deadline: Instant) -> None:
        if life == self.life and self.node is not None and self._tick_at == deadline:
            self._tick_at = None
            self._handle(Tick())
