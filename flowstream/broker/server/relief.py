"""What happens when connections hold more than they may together (X3): large buffers that are empty
are given back, then whoever costs most is let go. `broker/memory` decides who; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flowstream.broker.memory import Memory
from flowstream.broker.server.counters import Counters
from flowstream.broker.types import ConnectionId
from flowstream.sparing import SparingLog

if TYPE_CHECKING:
    from flowstream.broker.server.connection import Connection

log = logging.getLogger("flowstream.broker")

QUIET_SECONDS = 1.0
"""Between two lines about connections that were let go: there may be thousands (X4)."""


class Relief:
    """Keeps the account of a driver's connections, and keeps it within its bound."""

    def __init__(
        self,
        memory: Memory,
        connections: Mapping[ConnectionId, Connection],
        loop: asyncio.AbstractEventLoop,
        counters: Counters | None,
    ) -> None:
        self.memory = memory
        self._connections = connections
        self._loop = loop
        self._counters = counters
        self._lines = SparingLog(log, QUIET_SECONDS)

    def count(self, id: ConnectionId, amount: int) -> None:
        """A connection holds `amount` from now on, nothing else."""
        self.memory.hold(id, amount, self._loop.time())

    def relieve(self) -> None:
        """See to it that there is room for what was counted: some may be closed afterwards, even
        whoever asked. Never to be called while effects are carried out.
        """
        if self.memory.is_over:
            self._relieve()

    def flush(self) -> None:
        """Tell of what was left out of the log."""
        self._lines.flush()

    def _relieve(self) -> None:
        memory = self.memory
        for id in memory.holders:
            self._connections[id].give_back()
        for id in memory.costliest(self._loop.time()):
            connection = self._connections.get(id)
            if connection is not None:  # else its end came with that of another
                self._let_go(connection, memory.holds(id))

    def _let_go(self, connection: Connection, amount: int) -> None:
        if self._counters is not None:
            self._counters.let_go += 1
        line = (
            f"connection from {connection.host} ends: it holds {amount} bytes of an unfinished"
            f" request or an unread answer, and all connections together more than the"
            f" {self.memory.most} that they may (queued.max.request.bytes)"
        )
        self._lines.warn(line, self._loop.time(), self._loop.call_later)
        connection.close("too much memory held")
