"""What can happen to a node, as values. The shells make events, `Node.handle` reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flowstream.broker.types import LOCAL, ConnectionId, ReplyTo, Session

M = TypeVar("M", covariant=True)


@dataclass(slots=True)
class Request(Generic[M]):
    """A decoded request. `body` may hold memoryviews of the receive buffer: valid only during the
    turn it is handled in.
    """

    to: ReplyTo
    client_id: str | None
    client_host: str
    body: M
    session: Session = LOCAL
    size: int = 0
    """Bytes of its frame, which is what quotas count."""
    allows: Callable[[str], bool] | None = None
    """Which topics the client may have, asked by name where only the handler finds out which they
    are: a session's, a pattern's. None: all of them.
    """


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone; replies to it are dropped."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class Durable:
    """Every operation of write group `group` and all earlier ones is on stable storage (or written,
    under durability `os`).
    """

    group: int


@dataclass(frozen=True, slots=True)
class Computed:
    """The result that an effect `Compute` of the connection asked for."""

    connection: ConnectionId
    result: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline that the node asked for has come."""


Event = Request[object] | Disconnected | Durable | Computed | Tick
