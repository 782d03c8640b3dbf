"""A broker node on a disk in memory, asked in plain method calls: one turn per request, no network,
no threads."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any

from flowstream.broker.config import BrokerConfig
from flowstream.broker.cores import Cores
from flowstream.broker.doors import Operation, Storage
from flowstream.broker.effects import Close, Compute, Effect, Mute, Reply, Write
from flowstream.broker.events import Computed, Durable, Request, Tick
from flowstream.broker.handlers import ROUTES
from flowstream.broker.log.journal import BLOCK, SALT_BYTES
from flowstream.broker.node import Node
from flowstream.broker.opening import open_cores
from flowstream.broker.security.listeners import parse_listeners
from flowstream.broker.server.logins import secure
from flowstream.broker.server.securing import is_secured
from flowstream.broker.storage.journaled import JournaledStorage
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import LOCAL, ConnectionId, Instant, ReplyTo, TopicPartition
from flowstream.wire.api import request_class, response_class
from flowstream.wire.batch import decode_control, decode_records, encode_batch, iter_batches
from flowstream.wire.messages.end_txn import EndTxnRequest
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from flowstream.wire.schema import decode, encode

JOURNAL_BYTES = 8 * BLOCK
"""Small, so that the journal files take turns often."""

TIME = 1_700_000_000_000


@cache
def key_of(request: type) -> int:
    """The API key whose requests are of class `request`."""
    return next(key for key in ROUTES if request_class(key) is request)


class Machine:
    """One node and its disk. `ask` waits for the answer; `post` and `settle` apart let a crash come
    between. Without `fsync` (durability `os`) nothing is synced, and a crash takes the process
    alone.
    """

    def __init__(
        self,
        seed: int = 1,
        storage: MemoryStorage | None = None,
        *,
        fsync: bool = True,
        **settings: str,
    ) -> None:
        names = {key.replace("_", "."): value for key, value in settings.items()}
        self.config = BrokerConfig.of(names)
        self.rng = random.Random(seed)
        self.storage = storage or MemoryStorage()
        self.fsync = fsync
        self.now = Instant(TIME)
        self.replies: dict[int, Any] = {}
        self.closed: list[str] = []
        self.session = LOCAL
        self.connection = ConnectionId(1)
        self.computing: list[Compute] = []
        self._asked = 0
        self.unsynced: set[str] = set()
        self.open()

    @property
    def cores(self) -> Cores:
        return self.node.cores

    def open(self) -> None:
        """Start on what the disk holds."""
        disk = self.disk = self._journaled() if self.fsync else self.storage

        def perform(operations: Sequence[Operation]) -> None:
            disk.sync(disk.perform(operations))

        rng, now = self.rng, self.now
        opened = open_cores(
            disk, perform, self.config, rng, now, host="127.0.0.1", fsync=self.fsync
        )
        opened.cores.address.port = 9092
        self.report = opened.report
        specs = parse_listeners(self.config, "127.0.0.1", 9092)
        if is_secured(self.config, specs):
            secure(opened.cores, self.config, specs)
        self.node = Node(opened.cores)
        self.unsynced = set()
        self.carry_out(self.node.start(self.now))
        self.settle()

    def _journaled(self) -> Storage:
        salt = self.rng.randbytes(SALT_BYTES)
        return JournaledStorage(self.storage, self.storage, salt, journal_bytes=JOURNAL_BYTES)

    def crash(self) -> None:
        """Lose what was not synced, and start again."""
        if self.fsync:
            self.storage.crash(self.rng)
        else:
            self.storage.kill(self.rng)
        self.open()

    def stop(self) -> None:
        """A clean stop: only Kafka's files are left."""
        self.settle()
        self.carry_out(self.node.stop(self.now))
        self.settle()

    def post(self, body: Hashable, version: int) -> int:
        """Hand in a request and perform its writes, but sync nothing."""
        self._asked += 1
        to = ReplyTo(self.connection, self._asked, key_of(type(body)), version)
        view = memoryview(bytearray(encode(body, version)))
        asked = decode(type(body), view, version)
        request = Request(to, "client", "127.0.0.1", asked, self.session, len(view))
        self.carry_out(self.node.handle(request, self.now))
        return self._asked

    def settle(self) -> None:
        """Sync turn by turn, and compute, until nothing waits."""
        while self.settle_once() or self.compute_once():
            pass

    def settle_once(self) -> bool:
        """Sync what was written and tell the node. False when nothing waited."""
        group = self.node.close_group()
        if group is None:
            return False
        if self.fsync:
            self.disk.sync(self.unsynced)
        self.unsynced = set()
        self.carry_out(self.node.handle(Durable(group), self.now))
        return True

    def compute_once(self) -> bool:
        """Compute what waits longest and tell the node. False when nothing waited."""
        if not self.computing:
            return False
        wanted = self.computing.pop(0)
        self.carry_out(self.node.handle(Computed(wanted.connection, wanted.work()), self.now))
        return True

    def ask(self, body: Hashable, version: int) -> Any:
        """The answer to a request, through its bytes."""
        asked = self.post(body, version)
        self.settle()
        while asked not in self.replies:
            due = self.node.deadline()
            if due is None or due > self.now + 1:
                break
            self.wait(1)  # it goes on in the next turn
        return self.answer(asked)

    def answer(self, asked: int) -> Any:
        """The answer to what was posted."""
        to, body = self.replies.pop(asked)
        return decode(response_class(to.api_key), encode(body, to.version), to.version)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, tick by tick."""
        until = self.now + milliseconds
        while True:
            due = self.node.deadline()
            if due is None or due > until:
                break
            self.now = Instant(max(self.now, due))
            self.carry_out(self.node.handle(Tick(), self.now))
            self.settle()
        self.now = Instant(until)

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what a driver does with effects, but for syncing."""
        for effect in effects:
            if isinstance(effect, Write):
                self.unsynced |= self.disk.perform(effect.operations)
            elif isinstance(effect, Reply):
                assert effect.to.correlation_id not in self.replies
                self.replies[effect.to.correlation_id] = (effect.to, effect.body)
            elif isinstance(effect, Compute):
                self.computing.append(effect)
            elif isinstance(effect, Close):
                self.closed.append(effect.reason)

    # ---- what transactional clients do

    def init(self, name: str | None = "t", *, version: int = 4, **more: int) -> Any:
        return self.ask(
            InitProducerIdRequest(
                transactional_id=name, **{"transaction_timeout_ms": 60_000, **more}
            ),
            version,
        )

    def end(
        self, pid: int, epoch: int, *, commit: bool = True, version: int = 5, name: str = "t"
    ) -> Any:
        return self.ask(end_txn(pid, epoch, commit=commit, name=name), version)

    def produce(
        self, topic: str, number: int, *batches: bytes, version: int = 12, **more: Any
    ) -> Any:
        """The answer for one partition."""
        response = self.ask(produce(topic, number, *batches, **more), version)
        return response.responses[0].partition_responses[0]

    def read(self, topic: str, number: int = 0, *, committed: bool = True) -> list[bytes | None]:
        """The values that a consumer sees from the start of a partition."""
        log = self.cores.logs.by_name[TopicPartition(topic, number)]
        offset, fetched, aborted = log.log_start, b"", set[tuple[int, int]]()
        while offset < (log.last_stable if committed else log.high_watermark):
            answer = self.ask(fetch(topic, number, offset, committed=committed), 11)
            partition = answer.responses[0].partitions[0]
            assert partition.error_code == 0
            assert partition.records, f"nothing at {offset}"
            fetched += bytes(partition.records)
            for each in partition.aborted_transactions or ():
                aborted.add((each.first_offset, each.producer_id))
            offset = next(
                header.last_offset + 1
                for position, header in iter_batches(partition.records)
                if position + header.size == len(partition.records)
            )
        return visible(fetched, sorted(aborted))


class Muting(Machine):
    """Remembers for how long its client was muted."""

    def __init__(self, **settings: str) -> None:
        self.muted: list[int] = []
        super().__init__(**settings)

    def carry_out(self, effects: list[Effect]) -> None:
        self.muted += [each.milliseconds for each in effects if isinstance(each, Mute)]
        super().carry_out(effects)


def visible(records: bytes, aborted: list[tuple[int, int]]) -> list[bytes | None]:
    """What a consumer makes of fetched batches: aborted ranges and markers are left out."""
    view = memoryview(records)
    ended: set[int] = set()
    values: list[bytes | None] = []
    for position, header in iter_batches(view):
        found = decode_records(view[position : position + header.size])
        while aborted and aborted[0][0] <= header.last_offset:
            ended.add(aborted.pop(0)[1])
        if header.is_control:
            if not decode_control(found[0]).commit:
                ended.discard(header.producer_id)
        elif not (header.is_transactional and header.producer_id in ended):
            values += [record.value for record in found]
    return values


def fetch(topic: str, number: int, offset: int, *, committed: bool = True) -> FetchRequest:
    """A Fetch of one partition that does not wait."""
    partition = FetchPartition(partition=number, fetch_offset=offset, partition_max_bytes=1 << 30)
    return FetchRequest(
        max_wait_ms=0,
        min_bytes=0,
        isolation_level=int(committed),
        topics=(FetchTopic(topic=topic, partitions=(partition,)),),
    )


def end_txn(pid: int, epoch: int, *, commit: bool = True, name: str = "t") -> EndTxnRequest:
    """An EndTxn of transactional id `name`."""
    return EndTxnRequest(
        transactional_id=name, producer_id=pid, producer_epoch=epoch, committed=commit
    )


def batch(*values: bytes, pid: int = -1, epoch: int = -1, sequence: int = -1) -> bytes:
    """A record batch; transactional when it has a producer id."""
    return bytes(
        encode_batch(
            [(TIME, b"k", value, ()) for value in values],
            producer_id=pid,
            producer_epoch=epoch,
            base_sequence=sequence,
            transactional=pid >= 0,
        )
    )


def produce(
    topic: str, number: int, *batches: bytes, name: str | None = None, acks: int = -1
) -> ProduceRequest:
    """A Produce request for one partition."""
    data = PartitionProduceData(index=number, records=b"".join(batches))
    return ProduceRequest(
        transactional_id=name,
        acks=acks,
        timeout_ms=1000,
        topic_data=(TopicProduceData(name=topic, partition_data=(data,)),),
    )
