"""What a simulation creates before its clients come."""

from __future__ import annotations

from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tests.simulation.actors import PARTITIONS, TOPIC
from tests.simulation.world import Actor, Call, World

CREATE_TOPICS = 19
TOPIC_ALREADY_EXISTS = 36


def create_topic(world: World) -> Actor:
    """Create the topic that everybody uses."""
    wanted = CreatableTopic(name=TOPIC, num_partitions=PARTITIONS, replication_factor=1)
    request = CreateTopicsRequest(topics=(wanted,))
    while True:
        body = yield Call(CREATE_TOPICS, 7, request)
        if body is not None and body.topics[0].error_code in (0, TOPIC_ALREADY_EXISTS):
            return
        yield 50
