"""A worker that takes its time between the steps of a commit, so that strikes find it there."""

from __future__ import annotations

import random
import time
from typing import Any

from flowstream.processing.commit import Step
from flowstream.processing.group import memberships
from flowstream.processing.group.committer import Committer

OFTEN = 0.7
LONGEST_S = 0.2
BEFORE = {Step.PRODUCE.value, Step.OFFSETS.value, Step.STORE.value}
chance = random.Random()


class Lingering(Committer):
    """A committer whose checkpoint lasts."""

    def __init__(self, guarantee: str, **more: Any) -> None:
        super().__init__(guarantee, **{**more, "checkpoint": linger})


def linger(step: str) -> None:
    """Mostly, before what others see."""
    if step in BEFORE and chance.random() < OFTEN:
        time.sleep(chance.random() * LONGEST_S)


def linger_in_this_process() -> None:
    """Whatever worker it has."""
    memberships.Committer = Lingering  # type: ignore[misc]
