"""A store that the tail of its changelog keeps current, for those who read it.

Shell by what it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowstream.state.store import StateStore
from flowstream.transport.tail import Tail
from flowstream.transport.types import TopicPartition


@dataclass(frozen=True, slots=True)
class Followed:
    """The copy of one table partition."""

    changelog: TopicPartition
    store: StateStore
    tail: Tail

    def holds(self, end: int) -> bool:
        """Whether it has all that is committed below `end`, and of no transaction a part."""
        stable, at = self.tail.last_stable(self.changelog), self.store.changelog_offset
        return stable is not None and at is not None and at >= max(stable, end)
