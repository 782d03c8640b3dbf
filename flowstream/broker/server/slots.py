"""The order of a connection's answers."""

from __future__ import annotations

from dataclasses import dataclass

from flowstream.broker.doors import Buffer


@dataclass(slots=True)
class Slot:
    """The place of one request's answer in the order of answers."""

    correlation_id: int
    api_key: int
    since: int
    answer: list[Buffer] | None = None
