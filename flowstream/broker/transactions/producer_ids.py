"""Hands out producer ids from blocks whose record is durable, so that none is ever handed out twice
(T12).

Soft state: what is left of a block at a restart is never used.
"""

from __future__ import annotations

from collections import deque


class ProducerIds:
    """The ids that may be handed out now."""

    __slots__ = ("_blocks", "_end", "block_pending")

    def __init__(self) -> None:
        self._blocks: deque[range] = deque()
        self._end = 0
        self.block_pending = False
        """A block was asked for and is not durable yet."""

    @property
    def empty(self) -> bool:
        """No id is left: a block has to be allocated first."""
        return not self._blocks

    def add(self, block: range) -> None:
        """The record of `block` is durable."""
        assert block.start >= self._end, "blocks never overlap (T12)"
        self._end = block.stop
        self._blocks.append(block)
        self.block_pending = False

    def take(self) -> int:
        """An id that nobody ever had."""
        block = self._blocks.popleft()
        if len(block) > 1:
            self._blocks.appendleft(block[1:])
        return block[0]
