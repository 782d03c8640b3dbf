"""Apps that go by time: windows, sessions, joins, timers; and their single-pass models."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator

import flowstream as fs
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.processing.time.windows import Window
from tests.simulation.workers.plain import PARTITIONS, place
from tests.simulation.workers.scenario import Feed, Record, Scenario, Seen, differences

FAR_MS = 10_000_000
"""After everything: what moves the watermark past all windows."""
PATIENT_S = 30.0
"""Longer than any side of a join is silent: who is idle holds nobody back, and is late then."""
LOST_S = 32.0
"""A request that was lost is given up after 30 s; what is due may be told only then."""
KEYS = ("a", "b", "c", "d")


def flush(topic: str, at_ms: int = FAR_MS) -> list[Feed]:
    """An event per partition that ends everything before it."""
    return [Feed(topic, part, f"end{part}", "0", at_ms) for part in range(PARTITIONS)]


def jumbled(rng: random.Random, topic: str, count: int, disorder_ms: int) -> list[Feed]:
    """Events that come at most so much later than a newer one of their partition."""
    found, tops = [], [0] * PARTITIONS
    for number in range(count):
        key = rng.choice(KEYS)
        part = place(key)
        at_ms = max(0, tops[part] + rng.randint(-disorder_ms, 4_000))
        tops[part] = max(tops[part], at_ms)
        found.append(Feed(topic, part, key, str(number), at_ms))
    return found


def windows(rng: random.Random) -> Scenario:
    """Fixed windows told when they close; what is later than the bound is dropped."""
    size, step = rng.choice([(10, 10), (10, 5), (30, 10)])
    grace, bound_ms = rng.choice([0, 3]), 2_000
    feeds = jumbled(rng, "in", rng.randint(20, 100), rng.choice([0, 1_900, 9_000])) + flush("in")

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic(
            "in", key_type=str, value_type=str, partitions=PARTITIONS, out_of_orderness=2
        )
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)

        @app.agent(inputs, sink=[out])
        async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
            shaped = stream.hopping(size, step, grace=grace)
            async for result in shaped.count():
                yield f"{result.key} {round(result.start * 1000)} {result.value}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        window = Window(size * 1000, step * 1000, None, grace * 1000)
        expected = []
        for part in seen.logs["in"]:
            counts: dict[tuple[str, int], int] = defaultdict(int)
            watermark = UNKNOWN
            for record in part:
                for start in window.starts(record.at_ms):
                    if start + window.size_ms + window.grace_ms > watermark:
                        counts[record.key, start] += 1
                watermark = max(watermark, record.at_ms - bound_ms)
            expected += [
                f"{key} {start} {count}"
                for (key, start), count in counts.items()
                if start + window.size_ms + window.grace_ms <= watermark
            ]
        found = [str(record.value) for record in seen.of("out")]
        yield from differences("S12 windows", sorted(expected), sorted(found))

    return Scenario("windows", declare, feeds, judge, ("out",), quiet_s=LOST_S)


def sessions(rng: random.Random) -> Scenario:
    """Sessions of events whose disorder is within the bound, so that none is late."""
    gap_ms = rng.choice([3_000, 8_000])
    feeds = jumbled(rng, "in", rng.randint(20, 100), 1_900) + flush("in")

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic(
            "in", key_type=str, value_type=str, partitions=PARTITIONS, out_of_orderness=2
        )
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)

        @app.agent(inputs, sink=[out])
        async def visit(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for result in stream.session(gap_ms / 1000).count():
                yield f"{result.key} {round(result.start * 1000)} {result.value}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        times: dict[str, list[int]] = defaultdict(list)
        for record in seen.of("in"):
            times[record.key].append(record.at_ms)
        expected = []
        for key, instants in times.items():
            session: list[int] = []
            for at_ms in [*sorted(instants), FAR_MS * 10]:
                if session and at_ms - session[-1] >= gap_ms:
                    if session[-1] < FAR_MS:
                        expected.append(f"{key} {session[0]} {len(session)}")
                    session = []
                session.append(at_ms)
        found = [str(record.value) for record in seen.of("out")]
        yield from differences("S12 sessions", sorted(expected), sorted(found))

    return Scenario("sessions", declare, feeds, judge, ("out",), quiet_s=LOST_S)


def timers(rng: random.Random) -> Scenario:
    """Durable timers, some cancelled: by the clock one per event; by event time one per key, which
    fires also if it is set anew once it is over.
    """
    domain = rng.choice(["event", "processing"])
    feeds = jumbled(rng, "in", rng.randint(20, 80), 0) + flush("in")

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        due = app.Timers("due", key_type=str, value_type=str, time=domain)  # type: ignore[arg-type]

        @app.agent(inputs)
        async def arm(stream: fs.Stream[str]) -> None:
            async for key, id in stream.items():
                if not key.startswith("end"):
                    name = key if domain == "event" else f"{key}-{id}"
                    due.set(name, id, after=1 + int(id) % 7)
                    due.set(f"{key}-{id}-not", id, after=5)
                    due.cancel(f"{key}-{id}-not")

        @app.agent(due, sink=[out])
        async def fire(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for id in stream:
                yield id

        return app

    def judge(seen: Seen) -> Iterator[str]:
        expected: dict[str, list[str | None]] = defaultdict(list)
        for part in seen.logs["in"]:
            for key, value in _fires(part) if domain == "event" else ():
                expected[key].append(value)
        for record in seen.of("in") if domain == "processing" else ():
            if not record.key.startswith("end"):
                expected[f"{record.key}-{record.value}"] = [record.value]
        yield from differences("S12 timer", expected, seen.by_key("out"))
        left = [row for part in seen.rows["due"] for row in part if not row.startswith(b"@")]
        yield from differences("S12 rows left", [], left)

    return Scenario("timers", declare, feeds, judge, ("out",), quiet_s=LOST_S)


def _fires(part: list[Record]) -> Iterator[tuple[str, str | None]]:
    """Timers of one partition's events that are over before they are set anew, or in the end."""
    watermark, timers = UNKNOWN, dict[str, tuple[int, str | None]]()
    for record in part:
        if record.key.startswith("end"):
            yield from ((key, value) for key, (_, value) in timers.items())
            return
        due_ms, value = timers.get(record.key, (FAR_MS, None))
        if due_ms <= watermark:
            yield record.key, value
        after_ms = 1000 * (1 + int(record.value or 0) % 7)
        timers[record.key] = (record.at_ms + after_ms, record.value)
        watermark = max(watermark, record.at_ms)


def stream_join(rng: random.Random) -> Scenario:
    """Two streams within a time of each other; what met nobody is told when nobody can come."""
    how = rng.choice(["inner", "left", "outer"])
    before, after = rng.choice([(0, 5), (2, 2), (5, 0)])
    left = jumbled(rng, "left", rng.randint(15, 60), 1_900)
    right = jumbled(rng, "right", rng.randint(15, 60), 1_900)
    feeds = _side_by_side(left, right) + flush("left") + flush("right")

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        lefts, rights = (
            app.topic(name, key_type=str, value_type=str, partitions=PARTITIONS, out_of_orderness=2)
            for name in ("left", "right")
        )
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)

        @app.agent(lefts, sink=[out])
        async def meet(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for pair in stream.join(rights, within=(before, after), how=how):  # type: ignore[call-overload]
                yield f"{pair.left or '-'}/{pair.right or '-'}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        expected: dict[str, list[str]] = defaultdict(list)
        rights = [record for record in seen.of("right") if record.at_ms < FAR_MS]
        met: set[Record] = set()
        for one in seen.of("left"):
            if one.at_ms >= FAR_MS:
                continue
            mates = [
                other
                for other in rights
                if other.key == one.key
                and -before * 1000 <= other.at_ms - one.at_ms <= after * 1000
            ]
            met.update(mates)
            expected[one.key] += [f"{one.value}/{other.value}" for other in mates]
            if not mates and how != "inner":
                expected[one.key].append(f"{one.value}/-")
        for other in rights if how == "outer" else ():
            if other not in met:
                expected[other.key].append(f"-/{other.value}")
        found = {
            key: sorted(str(value) for value in values)
            for key, values in seen.by_key("out").items()
            if not key.startswith("end")
        }
        wanted = {key: sorted(values) for key, values in expected.items() if values}
        yield from differences("S7 pairs of", wanted, found)

    return Scenario("stream_join", declare, feeds, judge, ("out",), {"source_idle": PATIENT_S})


def as_of_join(rng: random.Random) -> Scenario:
    """Events find the row of their key as it was at their time; rows change and go."""
    how = rng.choice(["inner", "left"])
    left = jumbled(rng, "orders", rng.randint(15, 60), 1_900)
    changes, tops = [], [0] * PARTITIONS
    for number in range(rng.randint(15, 60)):
        key = rng.choice(KEYS)
        part = place(key)
        tops[part] += rng.randint(1, 4_000)
        value = None if rng.random() < 0.2 else f"v{number}"
        changes.append(Feed("prices", part, key, value, tops[part]))
    feeds = _side_by_side(left, changes) + flush("orders") + flush("prices")

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        orders, prices = (
            app.topic(name, key_type=str, value_type=str, partitions=PARTITIONS, out_of_orderness=2)
            for name in ("orders", "prices")
        )
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        table = app.table(prices, name="prices", history=100_000)

        @app.agent(orders, sink=[out])
        async def enrich(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for id, price in stream.join(table, as_of=True, how=how):  # type: ignore[call-overload]
                yield f"{id}:{price or '-'}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        expected: dict[str, list[str]] = defaultdict(list)
        for order in seen.of("orders"):
            if order.at_ms >= FAR_MS:
                continue
            versions = [
                each
                for each in seen.of("prices")
                if each.key == order.key and each.at_ms <= order.at_ms
            ]
            price = max(versions, key=lambda each: each.at_ms).value if versions else None
            if price is not None or how == "left":
                expected[order.key].append(f"{order.value}:{price or '-'}")
        found = {
            key: sorted(str(value) for value in values)
            for key, values in seen.by_key("out").items()
            if not key.startswith("end")
        }
        wanted = {key: sorted(values) for key, values in expected.items()}
        yield from differences("S7 joined as of", wanted, found)

    return Scenario("as_of_join", declare, feeds, judge, ("out",), {"source_idle": PATIENT_S})


def table_join(rng: random.Random) -> Scenario:
    """Two tables side by side: in the end each key was told as both sides are."""
    how = rng.choice(["inner", "left", "outer"])
    feeds = []
    for number in range(rng.randint(20, 80)):
        key, topic = rng.choice(KEYS), rng.choice(["prices", "stock"])
        value = None if rng.random() < 0.25 else f"{topic[0]}{number}"
        feeds.append(Feed(topic, place(key), key, value, number))

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        prices, stock = (
            app.topic(name, key_type=str, value_type=str, partitions=PARTITIONS)
            for name in ("prices", "stock")
        )
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        joined = app.join(app.table(prices, name="p"), app.table(stock, name="s"), how=how)  # type: ignore[arg-type]

        @app.agent(joined, sink=[out])
        async def told(changes: fs.Stream[fs.Joined[str, str] | None]) -> AsyncIterator[str]:
            async for pair in changes:
                yield "gone" if pair is None else f"{pair.left or '-'}/{pair.right or '-'}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        now: dict[str, dict[str, str]] = {"prices": {}, "stock": {}}
        for topic, rows in now.items():
            for record in seen.of(topic):
                rows.pop(record.key, None)
                if record.value is not None:
                    rows[record.key] = record.value
        last = {key: values[-1] for key, values in seen.by_key("out").items()}
        for key in KEYS:
            left, right = now["prices"].get(key), now["stock"].get(key)
            needed = {"inner": left and right, "left": left, "outer": left or right}[how]
            expected = f"{left or '-'}/{right or '-'}" if needed else "gone"
            if last.get(key, "gone") != expected:
                yield f"S8 join of {key!r}: expected {expected!r}, found {last.get(key)!r}"
        changes = Counter(record.key for topic in now for record in seen.of(topic))
        for key, values in seen.by_key("out").items():
            if len(values) > changes[key]:
                yield f"S12 join of {key!r}: {changes[key]} changes were told as {values!r}"

    return Scenario("table_join", declare, feeds, judge, ("out",), quiet_s=LOST_S)


def _side_by_side(one: list[Feed], other: list[Feed]) -> list[Feed]:
    """Two orders kept, mixed by time so that neither side is silent for long."""
    both = [(n / len(side), number, feed) for number, side in enumerate((one, other))
            for n, feed in enumerate(side)]  # fmt: skip
    return [feed for _, _, feed in sorted(both, key=lambda each: each[:2])]
