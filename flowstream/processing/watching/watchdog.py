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

from flowstream.clock import monotonic_ms

log = logging.getLogger("flowstream.health")

BEAT_S = 0.25

OpenUnits = Callable[[], Iterable[tuple[str, int]]]
"""(label, offset behind the open unit) of every instance that is inside an event."""


class Watchdog:
    """Health of one worker's event loop and agents."""

    def __init__(
        self, agents: Mapping[CodeType, str], open_units: OpenUnits, limit_s: float
    ) -> None:
        self._agents = agents
        self._open_units = open_units
        self._limit_ms = limit_s * 1000
        self._pulse_ms = monotonic_ms()
        self._blocked: str | None = None
        self._since: dict[tuple[str, int], int] = {}
        self._warned: set[tuple[str, int]] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._owner = threading.get_ident()

    def start(self) -> None:
        """Begin to watch the running loop; call it in the loop's thread."""
        self._owner = threading.get_ident()
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
        return found + [f"{label} has not finished its event" for label, _ in sorted(self._warned)]

    def _beat(self) -> None:
        self._pulse_ms = monotonic_ms()
        self._look_at_units(self._pulse_ms)
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _look_at_units(self, now: int) -> None:
        current = set(self._open_units())
        self._since = {unit: self._since.get(unit, now) for unit in current}
        self._warned &= current
        for unit, since in self._since.items():
            if now - since >= self._limit_ms and unit not in self._warned:
                self._warned.add(unit)
                label, end = unit
                log.warning(
                    "%s has been busy with the event before offset %d for %.1f s",
                    label, end, (now - since) / 1000,
                )  # fmt: skip

    def _watch(self) -> None:
        while not self._over.wait(BEAT_S):
            silent = monotonic_ms() - self._pulse_ms
            if silent < self._limit_ms:
                self._blocked = None
            elif self._blocked is None:
                self._blocked = self._culprit(silent / 1000)
                log.error("%s", self._blocked)

    def _culprit(self, silent_s: float) -> str:
        frame = sys._current_frames().get(self._owner)
        name = self._agent_in(frame)
        where = ""
        if frame is not None:
            last = traceback.extract_stack(frame)[-1]
            where = f" at {last.filename}:{last.lineno} in {last.name}"
        who = f"agent {name!r} never yields" if name is not None else "something"
        return f"{who}: the event loop has not run for {silent_s:.1f} s, it is{where}"

    def _agent_in(self, frame: FrameType | None) -> str | None:
        while frame is not None:
            found = self._agents.get(frame.f_code)
            if found is not None:
                return found
            frame = frame.f_back
        return None
