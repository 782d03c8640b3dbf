"""A batch that expands to far more than it is costs what the settings allow (X3)."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowstream.broker.log.admission import check_client_batch
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.contents import Refused
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import encode_batch
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tests.broker.machine import TIME, Machine
from tests.fuzz.batches import BOMB_BYTES, CODECS, SMALLEST, packed_bomb, with_body

MIB = 1 << 20
TOPIC = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
READING = {
    "another codec": LogConfig(codec=0),
    "compacted": LogConfig(compact=True),
    "read whole": LogConfig(full_validation=True),
    "too new": LogConfig(timestamp_after_max_ms=0),
    "too old": LogConfig(timestamp_before_max_ms=0),
}


def claiming(codec: int, count: int, stamp: int = TIME) -> bytes:
    """A bomb of the smallest records that says it has `count` of them."""
    batch = encode_batch([(TIME, b"k", b"", ())], codec=codec)
    struct.pack_into(">i", batch, 23, count - 1)
    struct.pack_into(">qq", batch, 27, stamp, stamp)
    struct.pack_into(">i", batch, 57, count)
    return with_body(batch, packed_bomb(codec, SMALLEST))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("config", READING.values(), ids=READING)
def test_X3_a_bomb_costs_what_the_settings_allow(config: LogConfig, codec: int) -> None:
    for count in (1, config.max_records, BOMB_BYTES // len(SMALLEST), 2**31 - 1):
        batch = memoryview(claiming(codec, count, TIME + 1))
        with traced(3 * config.max_expanded + MIB):
            refused = check_client_batch(batch, config, Instant(TIME))
        assert isinstance(refused, Refused)


def test_X3_more_records_than_fit_are_refused_so_that_their_producer_splits_them() -> None:
    config = LogConfig()
    for count, error in ((config.max_records, None), (config.max_records + 1, "MESSAGE_TOO_LARGE")):
        answer = check_client_batch(memoryview(claiming(4, count)), config, Instant(TIME))
        assert (answer.error.name if isinstance(answer, Refused) else None) == error


@pytest.mark.parametrize("codec", CODECS)
def test_X3_a_stored_bomb_costs_a_search_by_time_no_more(codec: int) -> None:
    machine = Machine()
    machine.ask(CreateTopicsRequest(topics=(TOPIC,)), 5)
    assert machine.produce("t", 0, claiming(codec, LogConfig().max_records)).error_code == 0
    log = machine.cores.logs.by_name[TopicPartition("t", 0)]
    with traced(3 * log.config.max_expanded + MIB):
        found = log.offset_for_timestamp(TIME)
    assert found is not None
    assert found.offset == 0


@contextmanager
def traced(allowed: int) -> Iterator[None]:
    """What happens inside takes no more memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < allowed
    finally:
        tracemalloc.stop()
