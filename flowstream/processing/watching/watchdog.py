"""The watchdog: names an agent that holds the event loop, or one event, for too long.

Shell: one thread that looks at the loop's pulse from outside, since a blocked loop cannot.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType
from typing import NamedTuple

from flowstream.clock import monotonic_ms

log = logging.getLogger("flowstream.health")

BEAT_S = 0.25


class Busy(NamedTuple):
    """What an instance that is inside an event works on."""

    label: str
    unit: int
    """What tells it from the units before."""
    at: str
    """Which event it is, for people."""


BusyUnits = Callable[[], Iterable[Busy]]
"""Of every instance that is inside an event. Asked by the watchdog's thread as well."""


class Watchdog:
    """Health of one worker's event loop and agents."""

    def __init__(
        self,
        agents: Mapping[CodeType, str],
        open_units: BusyUnits,
        limit_s: float,
        session_timeout_s: float,
    ) -> None:
        self._agents = agents
        self._open_units = open_units
        self._limit_ms = limit_s * 1000
        self._session_ms = session_timeout_s * 1000
        # A loop that stands still for a session costs the worker its partitions.
        self._silence_ms = min(self._limit_ms, self._session_ms)
        self._pulse_ms = monotonic_ms()
        self._blocked: str | None = None
        self._since: dict[tuple[str, int], int] = {}
        self._warned: dict[tuple[str, int], str] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._owner = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to watch the running loop; call it in the loop's thread."""
        self._owner = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._pulse_ms = monotonic_ms()
        self._beat()
        self._thread = threading.Thread(target=self._watch, name="flowstream-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join(timeout=2 * BEAT_S)

    def warnings(self) -> list[str]:
        """What is wrong now; empty when the worker is healthy."""
        found = [self._blocked] if self._blocked is not None else []
        return found + [
            f"{label} has not finished {at}" for (label, _), at in sorted(self._warned.items())
        ]

    def _beat(self) -> None:
        now = monotonic_ms()
        self._look_back(now)
        self._pulse_ms = now
        self._look_at_units(now)
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _look_back(self, now: int) -> None:
        """Say what a pause of the loop that is over now will cost."""
        silent_ms = now - self._pulse_ms
        if silent_ms < self._silence_ms:
            return
        told = "the event loop runs again, after %.1f s"
        if silent_ms < self._session_ms:
            log.warning(told, silent_ms / 1000)
            return
        log.warning(
            told + ", longer than session_timeout (%g s): the group takes a worker that is silent"
            " so long for dead, so that it loses its partitions and joins anew. A call that blocks"
            " belongs into asyncio.to_thread",
            silent_ms / 1000, self._session_ms / 1000,
        )  # fmt: skip

    def _look_at_units(self, now: int) -> None:
        current = {(label, unit): at for label, unit, at in self._open_units()}
        self._since = {unit: self._since.get(unit, now) for unit in current}
        self._warned = {unit: at for unit, at in self._warned.items() if unit in current}
        for unit, since in self._since.items():
            if now - since >= self._limit_ms and unit not in self._warned:
                self._warned[unit] = current[unit]
                log.warning(
                    "%s has been busy with %s for %.1f s",
                    unit[0], current[unit], (now - since) / 1000,
                )  # fmt: skip

    def _watch(self) -> None:
        while not self._over.wait(BEAT_S):
            silent = monotonic_ms() - self._pulse_ms
            if silent < self._silence_ms:
                self._blocked = None
            elif self._blocked is None:
                self._blocked = self._culprit(silent / 1000)
                log.error("%s", self._blocked)

    def _culprit(self, silent_s: float) -> str:
        frame = sys._current_frames().get(self._owner)
        where = ""
        if frame is not None:
            last = traceback.extract_stack(frame)[-1]
            where = f" at {last.filename}:{last.lineno} in {last.name}"
        try:
            who = self._instance_at_work() or self._agent_in(frame) or "something"
        except RuntimeError:
            who = "something"  # the loop runs again, and changes what is looked at
        return f"{who}: the event loop has not run for {silent_s:.1f} s, it is{where}"

    def _instance_at_work(self) -> str | None:
        """The instance whose task holds the loop, and its event."""
        task = None if self._loop is None else asyncio.current_task(self._loop)
        name = None if task is None else task.get_name()
        events = [unit.at for unit in self._open_units() if unit.label == name]
        if not events:
            return None
        lanes = f" (one of {len(events)} side by side)" if len(events) > 1 else ""
        return f"{name} never yields, with {events[0]}{lanes}"

    def _agent_in(self, frame: FrameType | None) -> str | None:
        while frame is not None:
            found = self._agents.get(frame.f_code)
            if found is not None:
                return f"agent {found!r} never yields"
            frame = frame.f_back
        return None
