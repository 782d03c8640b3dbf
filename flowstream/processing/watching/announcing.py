"""What an app tells others about itself: its signals and its sensors. Declares only."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from flowstream.processing.errors import AppError
from flowstream.processing.watching.monitor import Monitor
from flowstream.processing.watching.sensors import Sensors
from flowstream.processing.watching.signals import Signal


class Working(Protocol):
    """What an app knows of its worker."""

    @property
    def wants_stop(self) -> bool:
        """Whether it is on its way to an end."""

    @property
    def is_rebalancing(self) -> bool:
        """Whether tasks are on their way to it, or away."""

    @property
    def is_leader(self) -> bool:
        """Whether it has the first partition."""

    @property
    def web_address(self) -> str | None:
        """Where it can be visited."""

    async def pause(self, seconds: float) -> None:
        """Sleep, unless it is to stop."""


class Announcing:
    """The part of an app that has signals and sensors, and tells of its worker."""

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
        self.worker: Working | None = None
        """The worker that was made for it last."""
        self.log = self.logger = logging.getLogger(f"{__name__.partition('.')[0]}.app")
        """For what the app itself has to say."""

    @property
    def has_worker(self) -> bool:
        """Whether a worker has been made for it: what it asks once, it has asked."""
        return self.worker is not None

    @property
    def should_stop(self) -> bool:
        """Whether its worker is to stop, for a task of the app; False before there is one."""
        return self.worker is not None and self.worker.wants_stop

    @property
    def rebalancing(self) -> bool:
        """Whether its worker has no share yet, or partitions are on their way to it or away."""
        return self.worker is not None and self.worker.is_rebalancing

    async def sleep(self, seconds: float) -> None:
        """Pause; returns at once when the worker is to stop."""
        pause = asyncio.sleep if self.worker is None else self.worker.pause
        await pause(seconds)

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
