"""What a connection needs of the driver. Typing only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flowstream.broker.events import Request
from flowstream.broker.server.counters import Counters
from flowstream.broker.server.relief import Relief

if TYPE_CHECKING:
    from flowstream.broker.server.connection import Connection


class Turns(Protocol):
    """What a connection needs of the driver."""

    turn: int
    counters: Counters | None
    relief: Relief

    def elements_allowed(self, key: int) -> int:
        """How many things a request of this API may name."""
        ...

    def submit(self, request: Request[object]) -> None:
        """Hand in a request; its body's views stay valid until `end_turn`."""
        ...

    def end_turn(self) -> None:
        """Perform everything handed in so far."""
        ...

    def to_send(self, connection: Connection) -> None:
        """Call `send` at the end of this turn."""
        ...

    def closed(self, connection: Connection, reason: str) -> None:
        """The connection is gone."""
        ...
