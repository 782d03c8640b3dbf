"""From a simulated disk to a node: the same opening as a real broker's."""

from __future__ import annotations

import random

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Storage
from flowstream.broker.node import Node
from flowstream.broker.opening import Perform, open_cores
from flowstream.broker.types import Instant

SETTINGS = {
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "500",
    "log.roll.ms": "3000",
    "log.cleaner.backoff.ms": "150",
    "log.retention.check.interval.ms": "400",
}


def boot(
    storage: Storage, perform: Perform, rng: random.Random, now: Instant, *, fsync: bool
) -> Node:
    """Recover every log through `perform` and make the node that serves them."""
    config = BrokerConfig.of(SETTINGS)
    opened = open_cores(storage, perform, config, rng, now, host="127.0.0.1", fsync=fsync)
    return Node(opened.cores)
