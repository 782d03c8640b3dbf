"""Alternate, take medians, quote ratios: machines drift, pairs measured side by side do not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the medians, the ratio of the first to the second, the target."""

    title: str
    unit: str
    medians: Mapping[str, float]
    ratio: float
    target: str
    command: str

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value:,.6g}" for name, value in self.medians.items())
        cells = (self.title, f"{values} {self.unit}", f"{self.ratio:.2f}x", self.target)
        return "| " + " | ".join(cells) + f" | `{self.command}` |"


HEADER = "| row | median | ratio | target | command |\n|---|---|---|---|---|"


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
    return Row(title, unit, medians, ratio, target, command)
