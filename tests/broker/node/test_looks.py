"""How often the node looks at its logs, whatever the settings say."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from flowstream.broker.effects import Effect
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.upkeep import LOGS_PER_TICK, PAUSE_MS, Upkeep
from flowstream.broker.types import Instant, TopicPartition
from tests.broker.machine import TIME
from tests.broker.node.test_upkeep import TOPIC, create, machine


def test_X4_looks_without_a_pause_between_them_leave_the_loop_to_others() -> None:
    made = machine(log_retention_check_interval_ms="1", log_cleaner_backoff_ms="0")
    log = create(made)
    upkeep = Upkeep({TOPIC: log}, fsync=True)
    now, ticks = Instant(TIME), 0
    upkeep.start(made.config, now)
    while now <= TIME + 1_000 and ticks <= 1_000:
        upkeep.tick(made.config, now)
        ticks += 1
        now = Instant(max(upkeep.deadline() or 0, now))
    assert ticks <= 2 * (1_000 / PAUSE_MS + 1)


def test_V2_retention_comes_to_every_log_though_the_next_round_is_due_before() -> None:
    made = machine(log_retention_check_interval_ms="1")
    looked: set[TopicPartition] = set()

    class Watched:
        def __init__(self, number: int) -> None:
            self.name = TopicPartition("t", number)

        def tick(self, now: Instant) -> list[Effect]:
            looked.add(self.name)
            return []

    logs = {log.name: log for log in map(Watched, range(3 * LOGS_PER_TICK))}
    upkeep = Upkeep(cast("dict[TopicPartition, PartitionLog]", logs), fsync=True)
    config = replace(made.config, log_cleaner_enable=False)
    upkeep.start(config, Instant(TIME))
    for at in range(1, 6):
        upkeep.tick(config, Instant(TIME + 1_000 * at))
    assert len(looked) == len(logs)
