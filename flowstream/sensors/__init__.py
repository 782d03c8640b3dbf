"""Sensors by Faust's names: `from flowstream.sensors.datadog import DatadogMonitor`."""

from __future__ import annotations

from flowstream.processing.watching.monitor import Monitor
from flowstream.processing.watching.sensors import Sensor

__all__ = ["Monitor", "Sensor"]
