"""Two tables of which one names rows of the other: joined by a foreign key."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.crash.kinds.kind import KEYS, Kind, Logs, Sent, grouped
from tests.crash.kinds.tables import versions


def named_by(row: dict[str, Any]) -> str:
    """The row of the other table that a row names."""
    return f"k{row['n'] % KEYS}"


class Foreign(Kind):
    """Rows with the rows that they name; both change and go."""

    name = "foreign"
    how: Literal["inner", "left"] = "inner"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Who names, and who is named."""
        return (f"{self.name}-left", f"{self.name}-right")

    def feed(self, rng: random.Random) -> list[Sent]:
        """A row, or that there is none."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        value = None if rng.random() < 0.3 else self.body(rng)
        return [Sent(self.inputs[rng.random() < 0.4], key, value, at_ms)]

    def declare(self, app: fs.App) -> None:
        """One agent on what is joined."""
        left, right = (
            app.table(self.source(app, topic), name=f"{topic}-rows") for topic in self.inputs
        )
        both = app.join(left, right, on=named_by, how=self.how, name=f"{self.name}-both")

        async def joined(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for pair in stream:
                yield [None] if pair is None else [pair.left, pair.right and pair.right["id"]]

        app.agent(both, name=self.name, sink=[self.sink(app)])(joined)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: no two sides that never belonged together; S12: the last of each key is told."""
        lefts = {key: rows for (_, key), rows in versions(logs.of(self.inputs[0])).items()}
        rights = {key: rows for (_, key), rows in versions(logs.of(self.inputs[1])).items()}
        rows = {
            record.value["id"]: record.value
            for record in logs.of(self.inputs[0])
            if record.value is not None
        }
        told = {key: values for (_, key), values in grouped(logs.of(self.outputs[0])).items()}
        found: list[Anomaly] = []
        for key in sorted({*lefts, *told}, key=str):
            id = lefts.get(key, [None])[-1]
            named = None if id is None else rights.get(named_by(rows[id]), [None])[-1]
            is_there = id is not None and (named is not None or self.how == "left")
            wanted = [rows[id], named] if is_there else None
            last = told[key][-1] if key in told else [None]
            if (None if last == [None] else last) != wanted:
                found.append(Anomaly("loss", "S12", f"{self.name} {key}: {wanted}, told {last}"))
            found += self._judge_order(key, told.get(key, ()), lefts[key], rights)
        return found

    def _judge_order(
        self, key: str | None, told: Sequence[Any], left: Sequence[Any],
        rights: Mapping[str | None, Sequence[Any]],
    ) -> list[Anomaly]:  # fmt: skip
        """Sides that belong together, one of them newer than what was told before."""
        found: list[Anomaly] = []
        at = there = 0
        for row, id in (pair for pair in told if pair != [None]):
            named = rights.get(named_by(row), [None])
            what = f"{self.name} {key}: told {row} with {id}"
            if id not in (None, *named):
                found.append(Anomaly("phantom", "S7", what))
                continue
            now = left.index(row["id"])
            if now != at:
                at, there, is_newer = now, 0, now > at
            else:
                is_newer = id is None or named.index(id) > there
            there = there if id is None else named.index(id)
            if not is_newer:
                found.append(Anomaly("told again, or went back", "S12", what))
        return found


class ForeignLeft(Foreign):
    """The same, told also without the row that is named."""

    name = "foreign-left"
    how = "left"
