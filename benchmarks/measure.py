"""Alternate, take medians, quote ratios: machines drift, pairs measured side by side do not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.brokers import Running, warm_memory


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the medians, the ratio of the first to the second, the target, and
    where it was measured the CPU of each broker, in microseconds per record.
    """

    title: str
    unit: str
    medians: Mapping[str, float]
    ratio: float
    target: str
    command: str
    cpu: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        values = f"{_listed(self.medians)} {self.unit}"
        cells = (self.title, values, f"{self.ratio:.2f}x", self.target, _listed(self.cpu))
        return "| " + " | ".join(cells) + f" | `{self.command}` |"


HEADER = """\
| row | median | ratio | target | broker CPU, us per record | command |
|---|---|---|---|---|---|"""


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


@dataclass(slots=True)
class Metered:
    """A contender that notes what its broker's CPU was for each of `records` records."""

    broker: Running
    load: Callable[[str], float]
    records: int
    warms: bool = False
    """Whether what it writes goes to pages that were used just now, whoever was measured before."""
    samples: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        if self.warms:
            warm_memory()
        before = self.broker.cpu_seconds()
        value = self.load(self.broker.address)
        self.samples.append((self.broker.cpu_seconds() - before) / self.records * 1e6)
        return value

    def warm_up(self, times: int) -> None:
        """Let caches and compilers settle; what is measured begins afterwards."""
        for _ in range(times):
            self()
        self.samples.clear()


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every contender `rounds` times, in turn, in an order that reverses each round."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in names:
            samples[name].append(contenders[name]())
            print(f"  {name}: {samples[name][-1]:,.6g}", flush=True)
    return samples


def compare(
    title: str,
    unit: str,
    contenders: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    target: str,
    command: str,
) -> Row:
    """Measure and make a row; its ratio is the median of the pairwise ratios, first to second."""
    print(title, flush=True)
    samples = alternate(contenders, rounds)
    first, second = list(contenders)[:2]
    ratio = statistics.median(a / b for a, b in zip(samples[first], samples[second], strict=True))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    cpu = {
        name: statistics.median(each.samples)
        for name, each in contenders.items()
        if isinstance(each, Metered)
    }
    return Row(title, unit, medians, ratio, target, command, cpu)
