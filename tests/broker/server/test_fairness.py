"""A client that sends much at a time has its turn like everybody else (X4)."""

from __future__ import annotations

from collections import Counter

from flowstream.broker.events import Event, Request
from flowstream.broker.server.holdings import PIPELINED
from flowstream.wire.frame import encode_request
from tests.broker.server.serving import (
    VERSIONS,
    Served,
    create_topic,
    produce_request,
    served,
    until,
)

PRODUCE, API_VERSIONS = 0, 18


def counted(broker: Served) -> Counter[int]:
    """How many requests each turn takes in, from now on."""
    driver, counts = broker.driver, Counter[int]()
    submit = driver.submit

    def count(event: Event) -> None:
        counts[driver.turn] += isinstance(event, Request)
        submit(event)

    driver.submit = count  # type: ignore[method-assign]
    return counts


async def test_X4_a_turn_takes_one_request_of_a_client_that_has_hundreds_ready() -> None:
    """Forty milliseconds went by in each turn, with Metadata of a large topic two hundred."""
    async with served() as broker:
        client = await broker.client()
        counts = counted(broker)
        for _ in range(300):
            client.send(API_VERSIONS, 3, VERSIONS)
        answers = [await client.receive() for _ in range(300)]
        assert [correlation_id for correlation_id, _ in answers] == list(range(1, 301))
        assert (counts.total(), max(counts.values())) == (300, 1)
        await client.close()


async def test_X4_a_turn_takes_a_bounded_number_of_records_that_need_no_answer() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        await client.ask(PRODUCE, 8, produce_request(b"x" * 900_000))  # its buffer is large now
        counts = counted(broker)
        one = b"".join(encode_request(PRODUCE, 8, 0, "test", produce_request(acks=0)))
        client.writer.write(one * 5_000)
        answer = await client.ask(PRODUCE, 8, produce_request())
        assert answer.responses[0].partition_responses[0].base_offset == 5_001
        assert counts.total() == 5_001
        assert PIPELINED >= max(counts.values()) > 1
        await client.close()


async def test_what_needs_no_answer_is_taken_in_whole_from_who_closes_behind_it() -> None:
    """The first 512 of thousands were; Kafka takes in all."""
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        await client.ask(PRODUCE, 8, produce_request(b"x" * 900_000))  # its buffer is large now
        one = b"".join(encode_request(PRODUCE, 8, 0, "test", produce_request(acks=0)))
        client.writer.write(one * 5_000)
        await client.close()
        await until(lambda: not broker.driver.connections)
        (log,) = broker.driver.cores.logs.by_name.values()
        assert log.log_end == 5_001


async def test_a_request_waits_for_the_answer_to_a_version_that_is_not_known() -> None:
    """Behind records that wait for the disk two requests were looked at together."""
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        client.send(PRODUCE, 8, produce_request())
        client.sent.append((API_VERSIONS, 0))
        client.writer.write(b"\0\0\0\x0a\0\x12\x7f\xff\0\0\0\3\0\0")
        client.send(API_VERSIONS, 3, VERSIONS)
        assert [(await client.receive())[0] for _ in range(3)] == [2, 3, 4]
        await client.close()
