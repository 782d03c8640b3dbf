"""The monitor that tells Datadog's agent, by Faust's name."""

from __future__ import annotations

from typing import Any

from flowstream.processing.watching.statsd import StatsdMonitor

__all__ = ["DatadogMonitor"]


class DatadogMonitor(StatsdMonitor):
    """A `StatsdMonitor` with topics, agents and tables as tags."""

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8125,
        prefix: str = "flowstream",
        rate: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(host, port, prefix, rate, tags=True, **options)
