"""One app, as a seed puts it together; every worker makes it anew."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal, get_args

import flowstream as fs
from flowstream.testing import Input

Kind = Literal[
    "table", "ttl", "windowed", "timers", "tumbling", "hopping", "sliding", "session", "join",
    "as_of",
]  # fmt: skip
STREAM_WINDOWS = ("tumbling", "hopping", "sliding", "session")
TWO_TOPICS = ("join", "as_of")
SIZE_S = 10
GROUPS = 3
KEYS = ("a", "b", "c")
FLAKY = 7
"""A value that is a multiple of this fails the first time that a process sees it."""
FAR_S = 1000
"""So much later than all else are the events that end it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the app is made of."""

    kind: Kind
    partitions: int
    disorder: int
    has_filter: bool
    has_group_by: bool
    has_dedupe: bool
    has_flat_map: bool
    take: int | None
    is_flaky: bool
    has_second: bool
    """Another agent on the same topic, in lockstep."""
    grace: int
    expires: int | None
    late: Literal["drop", "dead_letter"]
    has_closed: bool
    emit: Literal["on_close", "on_change"]
    how: Literal["inner", "left", "outer"]

    @property
    def is_orderly(self) -> bool:
        """Whether several sources meet, so that who is late is a matter of who comes first."""
        return self.has_group_by or self.kind in TWO_TOPICS

    def make(self) -> fs.App:
        """The app, with its agents."""
        return _Mixed(self).app


def recipe_of(rng: random.Random) -> Recipe:
    """Any that the app's author could write down, of which every run commits the same."""
    kind: Kind = rng.choice(get_args(Kind))
    by_row = kind in ("table", "ttl", "windowed")
    has_group_by = rng.random() < 0.3 and kind in ("table", *STREAM_WINDOWS)
    return Recipe(
        kind=kind,
        partitions=rng.choice([1, 1, 2]),
        disorder=rng.choice([0, 5]),
        has_filter=rng.random() < 0.3,
        has_group_by=has_group_by,
        has_dedupe=by_row and not has_group_by and rng.random() < 0.3,
        has_flat_map=by_row and rng.random() < 0.3,
        # A list has the time of its last event: no place for rows that go by time.
        take=rng.choice([None, None, 2, 5]) if kind not in ("ttl", "windowed", "timers") else None,
        is_flaky=rng.random() < 0.3,
        has_second=rng.random() < 0.3,
        grace=rng.choice([0, 5]),
        expires=rng.choice([None, SIZE_S, 100]),
        late=rng.choice(["drop", "dead_letter"]),
        has_closed=rng.random() < 0.7,
        emit="on_close" if has_group_by else rng.choice(["on_close", "on_change"]),
        how=rng.choice(["inner", "left"] if kind == "as_of" else ["inner", "left", "outer"]),
    )


def inputs_of(rng: random.Random, recipe: Recipe) -> list[Input | float]:
    """Records with disorder, times in which nothing comes, and records that end all before them."""
    found: list[Input | float] = []
    at = 1000.0
    tops: dict[str, float] = {}
    for number in range(rng.randint(5, 12)):
        at += rng.choice([0, 1, 3, 8, 15])
        topic, value = "in", number
        if recipe.kind in TWO_TOPICS and rng.random() < 0.4:
            topic = "beside"
        least = tops.get(topic, at) - recipe.disorder if recipe.is_orderly else 0.0
        when = max(at - rng.choice([0, 0, 0, 4, 12, 25]), least)
        tops[topic] = max(when, tops.get(topic, when))
        found.append(Input(topic, value, key=rng.choice(KEYS), timestamp=when))
        if rng.random() < 0.15:
            found.append(2.0 if recipe.is_orderly else 12.0)
    for topic in ("in", "beside") if recipe.kind in TWO_TOPICS else ("in",):
        for number, key in enumerate(KEYS):
            found.append(Input(topic, 900 + number, key=key, timestamp=at + FAR_S))
    return [*found, 60.0]


class _Mixed:
    """An app as it is put together."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.app = fs.App("mixed", retry_backoff=0.01, source_idle=3600.0)
        self._failed: set[int] = set()
        self._in, self._beside = (
            self.app.topic(
                name, key_type=str, value_type=int, partitions=recipe.partitions,
                out_of_orderness=recipe.disorder,
            )
            for name in ("in", "beside")
        )  # fmt: skip
        self._tables()
        self._agent()
        if recipe.has_second:
            self._second()

    def _out(self, name: str) -> fs.Topic[str, str]:
        return self.app.topic(name, key_type=str, value_type=str, partitions=1)

    # -- tables ---------------------------------------------------------------------------------

    def _tables(self) -> None:
        recipe, app = self.recipe, self.app
        self._table: Any = None
        if recipe.kind == "table":
            self._table = app.Table("rows", value_type=int, default=int)
        elif recipe.kind == "ttl":
            self._table = app.Table("rows", value_type=int, default=int, ttl=SIZE_S)
        elif recipe.kind == "windowed":
            self._windowed()
        elif recipe.kind == "timers":
            self._timers()
        elif recipe.kind == "as_of":
            self._table = app.table(self._beside, name="rows", history=30)

    def _windowed(self) -> None:
        recipe = self.recipe
        table = self.app.Table("rows", value_type=int, default=int)
        expires = recipe.expires if recipe.expires is None else max(recipe.expires, recipe.grace)
        if recipe.has_closed or expires is None:
            self._table = table.tumbling(
                SIZE_S, grace=recipe.grace, expires=expires, late=recipe.late
            )
        else:
            self._table = table.tumbling(SIZE_S, expires=expires)
        if recipe.has_closed:
            self._told("closed", self._table.closed)

    def _timers(self) -> None:
        self._due = self.app.Timers("due", key_type=str, value_type=int)
        self._told("fired", self._due)

    def _told(self, name: str, source: Any) -> None:
        """What comes due, in a topic of its own. A late event may set a timer for an instant that
        is over, and what is due goes in the order of the instants: so each has a key of its own.
        """
        out = self._out(f"{name}-out")

        async def tell(stream: fs.Stream[Any]) -> None:
            async for key, each in stream.items():
                await out.send(key=f"{key} {each!r}", value=f"{each!r}")

        self.app.agent(source, name=name)(tell)

    # -- the agent ------------------------------------------------------------------------------

    def _agent(self) -> None:
        recipe = self.recipe
        out = self._out("out")

        async def work(stream: fs.Stream[int]) -> None:
            shaped = self._shaped(stream).items()
            if recipe.take is None:
                async for key, value in shaped:
                    await self._one(out, key, value)
                return
            async for batch in shaped.take(recipe.take, within=1):
                for key, value in batch:
                    await self._one(out, key, value)

        self.app.agent(
            self._in, name="work", on_error=fs.retry(5, backoff=0.01, then="dead_letter")
        )(work)

    def _shaped(self, stream: Any) -> Any:
        recipe = self.recipe
        if recipe.has_filter:
            stream = stream.filter(lambda value: value % 5 != 1)
        if recipe.has_group_by:
            stream = stream.group_by(
                lambda value: f"g{value % GROUPS}", key_type=str, partitions=recipe.partitions
            )
        if recipe.has_dedupe:
            stream = stream.dedupe(SIZE_S, by=lambda value: str(value % 4))
        if recipe.has_flat_map:
            stream = stream.flat_map(lambda value: [value, value + 1000])
        if recipe.kind in STREAM_WINDOWS:
            stream = self._windows(stream)
        elif recipe.kind == "join":
            stream = stream.join(self._beside, within=5, how=recipe.how, grace=recipe.grace)
        elif recipe.kind == "as_of":
            stream = stream.join(self._table, as_of=True, how=recipe.how, grace=recipe.grace)
        return stream

    def _windows(self, stream: Any) -> Any:
        recipe = self.recipe
        how: dict[str, Any] = {"grace": recipe.grace, "emit": recipe.emit, "late": recipe.late}
        if recipe.kind == "tumbling":
            return stream.tumbling(SIZE_S, **how).count()
        if recipe.kind == "hopping":
            return stream.hopping(SIZE_S, SIZE_S // 2, **how).sum()
        if recipe.kind == "sliding":
            return stream.sliding(SIZE_S, **how).max()
        return stream.session(SIZE_S // 2, **how).sum()

    async def _one(self, out: fs.Topic[str, str], key: Any, value: Any) -> None:
        """The work on one value: rows, and what is told."""
        recipe, table = self.recipe, self._table
        told = repr(value)
        if recipe.kind == "timers":
            self._due.set(f"{key}{value % 3}", value, after=4)
        elif table is not None and recipe.kind != "as_of":
            table[key] += 1
            row = table[key].current() if recipe.kind == "windowed" else table[key]
            told = f"{row}" if recipe.has_group_by else f"{value} {row}"
        # Where two sources meet, or lists end anywhere, the order of keys is nobody's promise.
        is_loose = recipe.is_orderly or recipe.take is not None
        await out.send(key=f"{key} {told}" if is_loose else key, value=told)
        if recipe.is_flaky and isinstance(value, int) and value % FLAKY == 0:
            await self._fail_once(value)

    async def _fail_once(self, value: int) -> None:
        if value not in self._failed:
            self._failed.add(value)
            raise RuntimeError(f"{value} fails once")

    def _second(self) -> None:
        counts = self.app.Table("seconds", value_type=int, default=int)

        async def count(stream: fs.Stream[int]) -> None:
            async for key, _ in stream.items():
                counts[key] += 1

        self.app.agent(self._in, name="second")(count)
