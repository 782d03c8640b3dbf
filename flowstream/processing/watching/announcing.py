"""What an app tells others about itself: its signals and its sensors. Declares only."""

from __future__ import annotations

from typing import Any

from flowstream.processing.errors import AppError
from flowstream.processing.watching.monitor import Monitor
from flowstream.processing.watching.sensors import Sensors
from flowstream.processing.watching.signals import Signal


class Announcing:
    """The part of an app that has signals and sensors."""

    tables: dict[str, Any]

    def __init__(self) -> None:
        self.on_before_configured = Signal(self, "on_before_configured", takes_async=False)
        self.on_configured = Signal(self, "on_configured", takes_async=False)
        self.on_after_configured = Signal(self, "on_after_configured", takes_async=False)
        self.on_worker_init = Signal(self, "on_worker_init", takes_async=False)
        self.on_partitions_assigned = Signal(self, "on_partitions_assigned", takes_async=True)
        self.on_partitions_revoked = Signal(self, "on_partitions_revoked", takes_async=True)
        self.on_rebalance_complete = Signal(self, "on_rebalance_complete", takes_async=True)
        self.on_before_shutdown = Signal(self, "on_before_shutdown", takes_async=True)
        self.on_produce_message = Signal(self, "on_produce_message", takes_async=False)
        self.sensors = Sensors()
        self._monitor: Monitor | None = None
        self.has_channels = False
        """Whether units may put into channels, which needs a look at each output."""
        self.has_worker = False
        """Whether a worker has been made for it: what it asks once, it has asked."""

    @property
    def monitor(self) -> Monitor:
        """The app's `Monitor`, made and installed when it is first asked for. AppError when that
        is not before its worker: nothing was counted.
        """
        if self._monitor is None:
            if self.has_worker:
                raise AppError(
                    "nothing was counted: write `app.monitor`, or app.sensors.add(fs.Monitor()),"
                    " where the app is declared"
                )
            self.monitor = Monitor()
            assert self._monitor is not None
        return self._monitor

    @monitor.setter
    def monitor(self, monitor: Monitor) -> None:
        if self._monitor is not None:
            self.sensors.remove(self._monitor)
        self._monitor = monitor
        self.sensors.add(monitor)
