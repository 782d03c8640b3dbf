"""What all connections hold together: requests that are not whole yet and answers that are not sent
(X3).

Lives here: the account, how much of it an answer may take, and who is let go when it is overdrawn.
It must not know what a connection is.

Kafka, too, stops at `queued.max.request.bytes`, but it reserves a request's length before it reads
it. Here buffers grow by what arrives: who waits until there is room may wait for ever, for the rest
of a request that nobody sends. So whoever costs most goes.
"""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.types import ConnectionId

UNBOUNDED = (1 << 63) - 1
LEAST_ANSWER = 64 * 1024
"""What an answer may carry however little room there is: nobody asks in vain."""

SPARE = 16
"""This part of the whole is free once somebody had to look: a few bytes more do not have all looked
at again, and thousands who hold little go together.
"""


class Holding(NamedTuple):
    """What one connection holds, and when it last became more: what only shrinks grows old."""

    amount: int
    since: float

    def cost(self, now: float) -> float:
        """Byte seconds: a large request on its way costs little, one that is left lying much."""
        return self.amount * (now - self.since)


NOTHING = Holding(0, 0.0)


class Memory:
    """The account of all connections of a node. Times are seconds of a clock of the caller's."""

    __slots__ = ("_holdings", "held", "most", "read")

    def __init__(self, most: int = UNBOUNDED) -> None:
        self.most = most
        self.held = 0
        self.read = 0
        """Bytes of this turn's answers, which nobody holds yet: of Fetch as they are read."""
        self._holdings: dict[ConnectionId, Holding] = {}

    @property
    def is_over(self) -> bool:
        """Whether somebody has to go."""
        return self.held > self.most

    def has_room(self) -> bool:
        """Whether one more answer may be made in this turn. Its first always may: somebody goes on,
        however much others hold. So all together is never more than the bound and one answer.
        """
        return not self.read or self.held + self.read < self.most

    @property
    def answer_room(self) -> int:
        """How many bytes of records one more answer may carry."""
        return max(self.most - self.held - self.read, LEAST_ANSWER)

    @property
    def holders(self) -> list[ConnectionId]:
        """Who holds anything."""
        return list(self._holdings)

    def holds(self, who: ConnectionId) -> int:
        """What somebody holds."""
        return self._holdings.get(who, NOTHING).amount

    def hold(self, who: ConnectionId, amount: int, now: float) -> None:
        """Somebody holds `amount` from now on."""
        before, since = self._holdings.get(who, NOTHING)
        if amount:
            self._holdings[who] = Holding(amount, now if amount > before else since)
        else:
            self._holdings.pop(who, None)
        self.held += amount - before

    def costliest(self, now: float) -> list[ConnectionId]:
        """Who has to go, so that a part of the whole is free again: who costs most, and of those
        who cost the same whoever holds most. But not the last one: its answer may be one batch that
        is larger than the whole, and it would never get on (KIP-74).
        """
        found: list[ConnectionId] = []
        left = self.held
        most = self.most - self.most // SPARE
        if left <= most:
            return found
        dear = sorted(
            self._holdings.items(),
            key=lambda each: (each[1].cost(now), each[1].amount),
            reverse=True,
        )
        for who, holding in dear[:-1]:
            if left <= most:
                break
            found.append(who)
            left -= holding.amount
        return found
