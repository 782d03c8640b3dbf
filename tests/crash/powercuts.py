"""`python -m tests.crash.powercuts --cuts N [--seed S]`: a broker on real files and sockets whose
power is cut at random operations, over and over on one directory.

After each cut it must start again; every acknowledged record is at its offset (L2, D4), every
transaction is there in all its partitions or in none, as it was acknowledged (T9). `chores` adds
compaction, retention, and topics that come and go.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowstream import clock
from flowstream.broker.config import BrokerConfig
from flowstream.broker.cores import Cores
from flowstream.broker.log.journal import BLOCK
from flowstream.broker.node import Node
from flowstream.broker.opening import open_cores
from flowstream.broker.server.driver import Driver
from flowstream.broker.server.listener import Listener, bind
from flowstream.broker.storage.journaled import JournaledStorage
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import decode_records, encode_batch
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.end_txn import EndTxnRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.machine import visible
from tests.broker.server.serving import RawClient
from tests.crash import chores
from tests.crash.chores import Chore, Chores
from tests.crash.power import PoweredFiles, PowerOff, Supply

PARTITIONS = 5
SETTINGS = {
    "log.roll.ms": "200",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    **chores.SETTINGS,
}
OPERATIONS = (200, 2500)
"""Operations and syncs until the cut, at most: within recovery often, and later."""
CUTS_PER_DIRECTORY = 20
"""Reading and writing everything at each cut takes its time."""
TRANSACTIONAL_ID = "t"
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Files in memory, where there are such: what is durable is the twin's account, and real syncs
would only take time.
"""


@dataclass
class Ledger:
    """What the clients were told."""

    acknowledged: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """(partition of `plain`, offset) -> value."""
    committed: dict[int, bool | None] = field(default_factory=dict)
    """Number of a transaction -> whether it was committed, None when nobody knows."""
    sent: int = 0
    cuts: int = 0
    violations: list[str] = field(default_factory=list)
    chores: Chores = field(default_factory=Chores)

    def check(self, cores: Cores) -> None:
        """Compare with what the broker holds now; all transactions are decided."""
        for number in range(PARTITIONS):
            log = cores.logs.by_name.get(TopicPartition("plain", number))
            found = {} if log is None else values_by_offset(log)
            for (partition, offset), value in self.acknowledged.items():
                if partition == number and found.get(offset) != value:
                    self.violations.append(
                        f"L2, D4: cut {self.cuts}: plain-{number} offset {offset}: acknowledged"
                        f" {value[:20]!r}, found {found.get(offset, b'nothing')[:20]!r}"
                    )
        seen = [committed_numbers(cores, number) for number in range(PARTITIONS)]
        for number, outcome in self.committed.items():
            there = [number in partition for partition in seen]
            wanted = {True: [True], False: [False], None: [True, False]}[outcome]
            if len(set(there)) > 1 or there[0] not in wanted:
                self.violations.append(
                    f"T9: cut {self.cuts}: transaction {number} ended {outcome}, is in {there}"
                )
        self.violations += [f"cut {self.cuts}: {each}" for each in self.chores.check(cores)]


def values_by_offset(log: Any) -> dict[int, bytes]:
    """Every value of a partition."""
    return {
        record.offset: bytes(record.value or b"")
        for batch in log.scan()
        for record in decode_records(batch)
    }


def committed_numbers(cores: Cores, number: int) -> set[int]:
    """The transactions whose record a read_committed reader of `tx` sees."""
    log = cores.logs.by_name.get(TopicPartition("tx", number))
    if log is None:
        return set()
    fetched, aborted, offset = b"", set[tuple[int, int]](), log.log_start
    while offset < log.last_stable:
        read = log.read(offset, 1 << 20, committed_only=True, upto="last_stable")
        assert read.error == 0
        assert read.size
        fetched += b"".join(bytes(buffer) for buffer in read.buffers)
        aborted |= {(first, pid) for pid, first in read.aborted or ()}
        offset = read.next_offset
    return {int(value or b"-1") for value in visible(fetched, sorted(aborted))}


class Broker:
    """One life of a broker on the disk of a supply."""

    def __init__(self, supply: Supply, rng: random.Random) -> None:
        self.files, self.own = PoweredFiles(supply), PoweredFiles(supply)
        self.draining = ThreadPoolExecutor(1)
        disk = JournaledStorage(
            self.files,
            self.own,
            rng.randbytes(8),
            background=self.draining,
            journal_bytes=16 * BLOCK,
        )
        config = BrokerConfig.of(SETTINGS)
        now = Instant(clock.wall_ms())
        try:
            unsynced: set[str] = set()
            opened = open_cores(
                disk,
                lambda operations: unsynced.update(disk.perform(operations)),
                config,
                rng,
                now,
                host="127.0.0.1",
            )
            disk.sync(unsynced)
        except PowerOff:
            self.close()
            raise
        self.cores = opened.cores
        self.driver = Driver(Node(opened.cores), disk, clock.wall_ms, fsync=True)
        self.listener = Listener(bind("127.0.0.1", 0), self.driver, opened.cores)
        opened.cores.address.port = self.listener.port
        self.checked = asyncio.Event()
        self.driver.start()

    async def client(self) -> RawClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        return RawClient(reader, writer)

    async def end(self) -> None:
        self.listener.close()
        await self.driver.stop()
        self.close()

    def close(self) -> None:
        """Let go of threads and descriptors."""
        self.draining.shutdown()
        self.files.close()
        self.own.close()


def plain_request(values: list[tuple[int, bytes]]) -> ProduceRequest:
    """One record for each of some partitions."""
    data = tuple(
        PartitionProduceData(
            index=number, records=bytes(encode_batch([(clock.wall_ms(), None, value, ())]))
        )
        for number, value in values
    )
    topic = TopicProduceData(name="plain", partition_data=data)
    return ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(topic,))


async def produce_plain(broker: Broker, ledger: Ledger, rng: random.Random) -> None:
    """Records without transactions, large and small, until the power goes."""
    await broker.checked.wait()
    client = await broker.client()
    try:
        while True:
            ledger.sent += 1
            size = rng.choice([1, 20, 20, 300, 40_000])
            numbers = rng.sample(range(PARTITIONS), rng.randrange(1, PARTITIONS + 1))
            values = [(number, b"%d." % ledger.sent * size) for number in numbers]
            answer = await client.ask(0, 9, plain_request(values))
            for each in answer.responses[0].partition_responses:
                assert each.error_code == 0
                ledger.acknowledged[each.index, each.base_offset] = dict(values)[each.index]
    finally:
        await client.close()


async def transact(broker: Broker, ledger: Ledger, rng: random.Random) -> None:
    """Transactions over all partitions, committed and aborted, until the power goes."""
    await create(broker)
    client = await broker.client()
    try:
        request = InitProducerIdRequest(
            transactional_id=TRANSACTIONAL_ID, transaction_timeout_ms=60_000
        )
        owner = await client.ask(22, 4, request)
        while owner.error_code:
            await asyncio.sleep(0.001)
            owner = await client.ask(22, 4, request)
        if broker.driver.failed is not None:
            # The power went behind the answer: what is half done is for the next start to finish.
            raise ConnectionResetError
        # Whatever was open is decided now.
        ledger.check(broker.cores)
        broker.checked.set()
        while True:
            number = len(ledger.committed)
            ledger.committed[number] = False
            batch = encode_batch(
                [(clock.wall_ms(), None, b"%d" % number, ())],
                producer_id=owner.producer_id,
                producer_epoch=owner.producer_epoch,
                base_sequence=0,
                transactional=True,
            )
            data = tuple(
                PartitionProduceData(index=index, records=bytes(batch))
                for index in range(PARTITIONS)
            )
            topic = TopicProduceData(name="tx", partition_data=data)
            answer = await client.ask(
                0,
                12,
                ProduceRequest(
                    transactional_id=TRANSACTIONAL_ID, acks=-1, timeout_ms=1000, topic_data=(topic,)
                ),
            )
            assert not any(p.error_code for p in answer.responses[0].partition_responses)
            commit = rng.random() < 0.7
            ledger.committed[number] = None if commit else False
            owner = await client.ask(
                26,
                5,
                EndTxnRequest(
                    transactional_id=TRANSACTIONAL_ID,
                    producer_id=owner.producer_id,
                    producer_epoch=owner.producer_epoch,
                    committed=commit,
                ),
            )
            assert owner.error_code == 0
            ledger.committed[number] = commit
    finally:
        await client.close()


async def create(broker: Broker) -> None:
    """The topics that stay, when they are not there yet."""
    client = await broker.client()
    try:
        topics = tuple(
            CreatableTopic(name=name, num_partitions=PARTITIONS, replication_factor=1)
            for name in ("plain", "tx")
        )
        await client.ask(19, 5, CreateTopicsRequest(topics=topics, timeout_ms=1000))
        await client.ask(19, 5, chores.creation(chores.KEYED, chores.SHORT))
    finally:
        await client.close()


async def do(chore: Chore, broker: Broker, ledger: Ledger, rng: random.Random) -> None:
    """One of the chores, until the power goes."""
    await broker.checked.wait()
    client = await broker.client()
    try:
        await chore(client, ledger.chores, rng)
    finally:
        await client.close()


async def live(supply: Supply, ledger: Ledger, rng: random.Random) -> None:
    """From start to cut."""
    try:
        broker = Broker(supply, rng)
    except PowerOff:
        return
    clients = {
        asyncio.create_task(client(broker, ledger, rng)) for client in (produce_plain, transact)
    }
    clients |= {asyncio.create_task(do(each, broker, ledger, rng)) for each in chores.CLIENTS}
    try:
        # Who connects after the end is answered by nobody.
        await asyncio.wait({broker.driver.ended, *clients}, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait(clients, timeout=0.05)
        for client in done:
            result = client.exception()
            if not isinstance(result, asyncio.IncompleteReadError | ConnectionError):
                raise AssertionError(f"a client ended with {result!r}") from result
    finally:
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        if broker.driver.failed is not None and not isinstance(broker.driver.failed, PowerOff):
            ledger.violations.append(f"cut {ledger.cuts}: the broker failed: {broker.driver.failed!r}")  # fmt: skip # noqa: E501
        await broker.end()


def run(root: Path, cuts: int, seed: int) -> Ledger:
    """Live through `cuts` power cuts; each life looks at what the cut before it left. After a
    violation the directory is as it was found, and what it was at the start of that life is beside
    it.
    """
    rng = random.Random(seed)
    ledger = Ledger()
    twin = MemoryStorage()
    root.mkdir(exist_ok=True)
    for _ in range(cuts):
        supply = Supply(root, rng.randrange(1, rng.choice(OPERATIONS)), twin)
        before = {path: bytes(file.data) for path, file in twin._files.items()}
        try:
            asyncio.run(live(supply, ledger, rng))
        except Exception as error:  # noqa: BLE001 - a finding, with the cut that it came after
            ledger.violations.append(f"after cut {ledger.cuts}: {error!r}")
        ledger.cuts += 1
        if ledger.violations:
            for path, data in before.items():
                file = root.with_name(f"{root.name}-before") / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            break
        supply.cut(rng)
    return ledger


def main() -> int:
    """Exit status 1 when anything acknowledged was lost or half there."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.powercuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", default=MEMORY, help="default: %(default)s")
    arguments = parser.parse_args()
    # A broker whose power goes says so each time; here that is no news.
    logging.getLogger("flowstream.broker").setLevel(logging.CRITICAL + 1)
    started = time.monotonic()
    cuts = records = transactions = 0
    done: Counter[str] = Counter()
    violations: list[str] = []
    while cuts < arguments.cuts and not violations:
        directory = Path(tempfile.mkdtemp(prefix="powercuts-", dir=arguments.directory))
        count = min(CUTS_PER_DIRECTORY, arguments.cuts - cuts)
        ledger = run(directory / "data", count, arguments.seed * 1_000_000 + cuts)
        if ledger.violations:
            print(f"the directory is kept: {directory}")
        else:
            shutil.rmtree(directory)
        cuts += ledger.cuts
        records += len(ledger.acknowledged)
        transactions += len(ledger.committed)
        violations += ledger.violations
        done.update(ledger.chores.done())
    for line in violations[:20]:
        print(line)
    print(
        f"{len(violations)} violations in {cuts} power cuts: {records} acknowledged records,"
        f" {transactions} transactions, {time.monotonic() - started:.0f} s; {dict(done)}"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
