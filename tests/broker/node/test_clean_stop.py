"""The mark of a clean stop: Apache Kafka trusts it, and knows of no journal."""

from __future__ import annotations

import random

from flowstream.broker.log.checkpoints import CLEAN_SHUTDOWN
from flowstream.broker.log.journal import FILES
from flowstream.broker.storage.memory import Crashed
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tests.broker.machine import Machine, batch, produce

PARTITIONS = 3


def busy() -> Machine:
    """A broker whose last group commits are in its journal."""
    made = Machine()
    topic = CreatableTopic(name="t", num_partitions=PARTITIONS, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,), timeout_ms=1000), 5)
    for number in range(4):
        for partition in range(PARTITIONS):
            made.post(produce("t", partition, batch(b"%d" % number)), 9)
        made.settle()
    assert made.storage.size(FILES[0]), "the journal has frames"
    return made


def test_D5_a_mark_on_the_disk_means_that_no_journal_is_needed() -> None:
    marked = 0
    for step in range(1000):
        made = busy()
        logs = {name: log.active.path for name, log in made.cores.logs.by_name.items()}
        made.storage.crash_at(made.storage.operations + step)
        try:
            made.stop()
        except Crashed:
            over = False
        else:
            over = True
        made.storage.crash(random.Random(step))
        if made.storage.size(CLEAN_SHUTDOWN) is not None:
            marked += 1
            assert not [name for name in FILES if made.storage.size(name) is not None], step
            sizes = {made.storage.size(path) for path in logs.values()}
            assert len(sizes) == 1, "every partition has what was acknowledged in its own file"
            assert sizes.pop(), "and it has something"
        if over:
            break
    assert over
    assert marked >= 1
    made.open()
    assert [made.read("t", number) for number in range(PARTITIONS)] == [
        [b"0", b"1", b"2", b"3"]
    ] * PARTITIONS
