"""The monitor that tells a statsd server."""

from __future__ import annotations

from flowstream.processing.watching.statsd import StatsdMonitor

__all__ = ["StatsdMonitor"]
