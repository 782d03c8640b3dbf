"""A transaction that no coordinator knows holds up readers until it is found and aborted. Our own
coordinator leaves none behind (T10): other brokers' did, when a batch came late (KIP-890)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from flowstream.broker.log.partition import Accepted
from flowstream.broker.types import TopicPartition
from flowstream.cli.embedded import write_address
from flowstream.wire.batch import encode_batch
from tests.broker.server.serving import Served, served
from tests.cli.visiting import call, objects, output

PRODUCER = 4242
HELD = TopicPartition("held", 0)
PLACE = ("--topic", "held", "--partition", "0", "--start-offset", "1")
FIND = ("transactions", "find-hanging", "--json", "--older-than")


def orphaned(broker: Served) -> None:
    """A batch of a transaction gets into the log behind the coordinator's back."""
    batch = encode_batch(
        [(60_000, None, b"orphan", ())],
        producer_id=PRODUCER, producer_epoch=3, base_sequence=0, transactional=True,
    )  # fmt: skip
    driver, log = broker.driver, broker.driver.cores.logs.by_name[HELD]
    admitted = log.admit(memoryview(batch), driver.now())
    assert isinstance(admitted, Accepted)
    driver.carry_out(log.append(admitted, driver.now()).effects)


async def test_V2_T8_a_hanging_transaction_is_found_and_aborted(tmp_path: Path) -> None:
    async with served() as broker:
        write_address(tmp_path, f"127.0.0.1:{broker.listener.port}")
        await asyncio.to_thread(prepare, tmp_path)
        orphaned(broker)
        await asyncio.to_thread(find_and_abort, tmp_path)


def prepare(data: Path) -> None:
    output(data, "topics", "create", "held", "-c", "retention.ms=-1")
    output(data, "send", "held", "before")


def find_and_abort(data: Path) -> None:
    output(data, "send", "held", "behind")
    assert json.loads(output(data, *FIND, "999999999")) == []
    (row,) = json.loads(output(data, *FIND, "0", "--topic", "held"))
    assert row["minutes"] > 1000
    del row["minutes"]
    assert row == {
        "topic": "held", "partition": 0, "producer_id": PRODUCER, "epoch": 3, "start_offset": 1
    }  # fmt: skip
    assert values(data) == ["before"], "readers of what is committed wait"
    output(data, "transactions", "abort", *PLACE)
    assert json.loads(output(data, *FIND, "0")) == []
    assert values(data) == ["before", "behind"]
    again = call(data, "transactions", "abort", *PLACE)
    assert (again.exit_code, "no open transaction" in again.stderr) == (1, True)


def values(data: Path) -> list[object]:
    """What is committed in the topic."""
    return [row["value"] for row in objects(output(data, "tail", "held", "--no-follow"))]
