"""What the demo knows while it runs: plain numbers that the feeder, the monitor and the killer
write and the display reads."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RATE_SPAN_S = 3.0


@dataclass(slots=True)
class Progress:
    """The state of one run. `total` lines will be fed."""

    total: int
    fed: int = 0
    scored: int = 0
    suspicious: int = 0
    alerts: int = 0
    dead: int = 0
    commits: int = 0
    aborts: int = 0
    broker: str = "starting"
    workers: dict[str, str] = field(default_factory=dict)
    events: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    last_alert: str = ""
    kills: list[str] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def lag(self) -> int:
        """Lines that are fed but neither scored nor dead."""
        return max(0, self.fed - self.scored - self.dead)

    @property
    def finished(self) -> bool:
        """Whether everything that was fed has come out at every end."""
        out = self.scored + self.dead
        return self.fed == self.total <= out and self.alerts >= self.suspicious

    def rate(self, now: float) -> float:
        """Payments scored a second, over the last seconds."""
        self._samples.append((now, self.scored))
        while len(self._samples) > 2 and now - self._samples[1][0] > RATE_SPAN_S:
            self._samples.popleft()
        time, scored = self._samples[0]
        return (self.scored - scored) / (now - time) if now > time else 0.0

    def note(self, now: float, text: str) -> None:
        """Add a line to the log of events."""
        self.events.append(f"{now - self.began:5.1f} s  {text}")
