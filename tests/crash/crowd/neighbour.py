"""What a neighbour of the app is to the campaign."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property

from confluent_kafka.admin import AdminClient

from tests.checkers.history import Anomaly
from tests.crash.crowd.clients import administrator

Role = Callable[[threading.Event, random.Random], None]
"""Works until the event is set. It has a thread of its own."""


class Neighbour:
    """Clients that work together on topics of their own, and judge what they saw."""

    expected: tuple[str, ...] = ()
    """The names in `counts` that may not be zero after a long campaign."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        self.counts: Counter[str] = Counter()
        self.anomalies: list[Anomaly] = []

    @cached_property
    def admin(self) -> AdminClient:
        """The neighbour's admin client."""
        return administrator(self.broker)

    def prepare(self) -> None:
        """Make what the roles need."""

    def roles(self) -> Mapping[str, Role]:
        """What goes on at once while things die."""
        return {}

    def struck(self) -> None:
        """The broker was killed just now."""

    def settle(self, rng: random.Random) -> None:
        """Nothing dies any more and the roles have ended: read everything, and judge."""
