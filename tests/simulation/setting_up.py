"""What a simulation creates before its clients come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flowstream.broker.handlers import slicing
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from tests.simulation.actors import PARTITIONS, TOPIC
from tests.simulation.world import Actor, Call, World

CREATE_TOPICS = 19
TOPIC_ALREADY_EXISTS = 36


def create_topic(
    world: World,
    name: str = TOPIC,
    partitions: int = PARTITIONS,
    configs: Mapping[str, str] | None = None,
) -> Actor:
    """Create the topic that everybody uses, or another one."""
    given = tuple(
        CreatableTopicConfig(name=name, value=value) for name, value in (configs or {}).items()
    )
    wanted = CreatableTopic(
        name=name, num_partitions=partitions, replication_factor=1, configs=given
    )
    request = CreateTopicsRequest(topics=(wanted,))
    while True:
        body = yield Call(CREATE_TOPICS, 7, request)
        if body is not None and body.topics[0].error_code in (0, TOPIC_ALREADY_EXISTS):
            return
        yield 50


@contextmanager
def slices_of(partitions: int) -> Iterator[None]:
    """Topics with more partitions are prepared before they are there."""
    before, slicing.SLICE = slicing.SLICE, partitions
    try:
        yield
    finally:
        slicing.SLICE = before
