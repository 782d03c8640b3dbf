"""The judges of all kinds of apps: content with an app that works, and with nothing less."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

import flowstream as fs
from flowstream.state.rocksdb import open_store
from flowstream.state.store import StoreIdentity
from flowstream.testing import Broker
from tests.checkers.history import Anomaly
from tests.crash.kinds.app import KINDS, NAME, app_of, company
from tests.crash.kinds.beside import DIRECTORY, database
from tests.crash.kinds.kind import Kind, Logs, Record
from tests.crash.kinds.ledger import Feeder, Ledger, create_inputs
from tests.crash.kinds.patterns import FIRST
from tests.crash.kinds.repeating import AtLeastOnce
from tests.crash.kinds.stores import check_stores

INPUTS_EACH = 115
RATE = 2_000.0
DEADLINE_S = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Seen:
    """A run of all kinds in one worker, of which nothing is killed."""

    def __init__(self, kinds: Mapping[str, Kind], records: Mapping[str, Sequence[Record]]) -> None:
        self.kinds, self.records = kinds, records

    def judge(self, kind: str, records: Mapping[str, Sequence[Record]]) -> list[Anomaly]:
        return self.kinds[kind].judge(Logs(NAME, records))

    def topics(self, kind: str) -> list[str]:
        """Where each record counts: output topics that have any."""
        return [topic for topic in self.kinds[kind].outputs if self.records.get(topic)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    directory: Path = tmp_path_factory.mktemp("kinds")
    patched = pytest.MonkeyPatch()
    patched.setenv(DIRECTORY, str(directory))
    kinds = {name: kind() for name, kind in KINDS.items()}
    records: dict[str, Sequence[Record]] = {}
    left = list(KINDS)
    while left:
        together = company(left, len(left))
        left = [name for name in left if name not in together]
        found = await worked([kinds[name] for name in together], directory / together[0])
        records |= found
    yield Seen(kinds, records)
    patched.undo()


async def worked(every: list[Kind], directory: Path) -> Mapping[str, Sequence[Record]]:
    """What is committed when kinds that go together have done all that they are fed."""
    async with Broker({"log.retention.ms": "-1"}) as broker:
        await create_inputs(broker.address, every)
        asking = app_of(every, data_dir=directory / "asker")
        asking.connect_to(broker.address)
        worker = fs.Worker(
            app_of([type(kind)() for kind in every]), broker.address, data_dir=directory
        )
        running = asyncio.create_task(worker.run())
        feeder = Feeder(broker.address, every, RATE, random.Random(5))
        ledger = Ledger(broker.address, NAME)
        stop = asyncio.Event()
        feeding = asyncio.create_task(feeder.run(stop))
        while feeder.count < INPUTS_EACH * len(every) and not feeding.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await feeding
        found = [Anomaly("not looked yet", "V1", "")]
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while found:
            assert asyncio.get_running_loop().time() < deadline, found[:5]
            if found:
                await ledger.look()
                found = [a for kind in every for a in kind.judge(ledger.logs)]
                if running.done():
                    running.result()
        assert feeder.judge(ledger.logs) == []
        worker.stop()
        await running
        await asking.close()
    return ledger.records


TIMELY = ("interim-out", "timers-out", "two-tables-changed", "two-tables-joined",
          "two-tables-outer-changed", "two-tables-outer-joined", "foreign-out",
          "foreign-left-out")  # fmt: skip
"""Topics of which some records may be there or not, as the worker's turns go."""


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "crontab"])
async def test_S7_S11_S12_every_record_counts(seen: Seen, kind: str) -> None:
    """One that is not there, or there twice, is noticed, whichever it is."""
    assert seen.judge(kind, seen.records) == []
    assert seen.topics(kind)
    rng = random.Random(kind)
    for topic in {*seen.topics(kind)} - {*TIMELY}:
        records = list(seen.records[topic])
        for place in rng.sample(range(len(records)), min(5, len(records))):
            less = [*records[:place], *records[place + 1 :]]
            twice = [*records, records[place]]
            assert seen.judge(kind, {**seen.records, topic: less}), records[place]
            may_repeat = issubclass(KINDS[kind], AtLeastOnce)
            judged = seen.judge(kind, {**seen.records, topic: twice})
            assert bool(judged) != may_repeat, records[place]


@pytest.mark.parametrize("topic", TIMELY)
async def test_S12_what_is_told_of_a_key_at_all_counts(seen: Seen, topic: str) -> None:
    """A key of which nothing is told is noticed, and a result that is told again; not each of them:
    a key may have come to nothing, and a change that was taken back may be told once more.
    """
    kind = topic.rpartition("-")[0]
    rng = random.Random(topic)
    told = [record for record in seen.records[topic] if b"null" not in (record.data or b"null")]
    noticed = {"less": 0, "twice": 0}
    for record in rng.sample(told, min(12, len(told))):
        less = [each for each in seen.records[topic] if each.key != record.key]
        last = max(each.offset for each in told if each.partition == record.partition)
        twice = [*seen.records[topic], record._replace(offset=last + 1)]
        noticed["less"] += bool(seen.judge(kind, {**seen.records, topic: less}))
        noticed["twice"] += bool(seen.judge(kind, {**seen.records, topic: twice}))
    assert all(noticed.values()), noticed


async def test_S12_a_crontab_that_ran_twice_or_stopped_is_noticed(seen: Seen) -> None:
    runs = [Record("crontab-out", 0, n, 0, "cron", b"[%d, %d]" % (n * 1000, n * 1000 + 5))
            for n in range(1, 30)]  # fmt: skip
    seen.kinds["crontab"]._ended_ms = 20_000  # type: ignore[attr-defined]
    assert seen.judge("crontab", {"crontab-out": runs}) == []
    for wrong in ([*runs, runs[-1]], runs[:18], [*runs[:10], *runs[17:]]):
        assert seen.judge("crontab", {"crontab-out": wrong})
    early = runs[5]._replace(data=b"[6000, 5999]")
    assert seen.judge("crontab", {"crontab-out": [*runs[:5], early, *runs[6:]]})


@pytest.mark.parametrize(
    "kind",
    ["aggregate", "on-change", "dedupe", "through", "asked", "on-park", "pattern", "at-least-once"],
)
async def test_S7_another_order_within_a_key_is_noticed(seen: Seen, kind: str) -> None:
    topic = seen.topics(kind)[0]
    records = sorted(seen.records[topic], key=lambda r: (r.partition, r.key or "", r.offset))
    at = next(
        n
        for n, (one, two) in enumerate(itertools.pairwise(records))
        if (one.partition, one.key) == (two.partition, two.key) and one.data != two.data
    )
    one, two = records[at], records[at + 1]
    records[at : at + 2] = [one._replace(data=two.data), two._replace(data=one.data)]
    assert seen.judge(kind, {**seen.records, topic: records})


@pytest.mark.parametrize(
    "kind", ["tumbling", "hopping", "sliding", "session", "closed", "on-dead-letter", "on-retry"]
)
async def test_S11_a_dead_letter_that_is_missing_or_double_is_noticed(
    seen: Seen, kind: str
) -> None:
    topic = f"{NAME}-dead-letters"
    mine = [r for r in seen.records[topic] if r.headers["flowstream.agent"] == kind.encode()]
    assert mine
    less = [record for record in seen.records[topic] if record is not mine[0]]
    for changed in (less, [*seen.records[topic], mine[0]]):
        assert seen.judge(kind, {**seen.records, topic: changed})


async def test_S8_a_row_that_differs_is_noticed(seen: Seen) -> None:
    for kind in seen.kinds.values():
        for table in kind.tables:
            topic = f"{NAME}-{table}-changelog"
            last = [r for r in seen.records[topic] if r.data is not None][-1]
            # Where a late write stays, what is gone is no fault; what comes of nothing is one.
            wrong = last._replace(offset=10**9, data=None if kind.is_fenced else b'["i0"]')
            assert kind.judge(Logs(NAME, {**seen.records, topic: [*seen.records[topic], wrong]}))


@pytest.mark.parametrize("kind", ["at-least-once", "at-least-once-regrouped"])
async def test_S7_what_comes_of_no_input_is_noticed_where_repeats_are_none(
    seen: Seen, kind: str
) -> None:
    """An output of another event, time or key; and one that is told before its turn."""
    topic = f"{kind}-out"
    records = list(seen.records[topic])
    assert seen.judge(kind, {**seen.records, topic: records * 2}) == []
    assert not seen.kinds[kind].counts["outputs told again"] - len(records)
    one = records[len(records) // 2]
    for wrong in (
        one._replace(data=b'["i0", 1]'),
        one._replace(at_ms=one.at_ms + 1),
        one._replace(key="k99"),
    ):
        assert seen.judge(kind, {**seen.records, topic: [*records, wrong]})
    mine = [record for record in records if record.key == one.key]
    early = mine[-1]._replace(offset=-1)
    assert seen.judge(kind, {**seen.records, topic: [early, *records]})


async def test_S7_topics_came_while_the_app_was_at_work(seen: Seen) -> None:
    topics = seen.kinds["pattern"].inputs
    assert len(topics) > FIRST
    assert all(seen.records[topic] for topic in topics)


@pytest.mark.parametrize("is_fenced", [True, False])
async def test_S10_a_row_that_no_changelog_has_is_noticed_without_fencing_too(
    tmp_path: Path, *, is_fenced: bool
) -> None:
    """A row of before is not, there."""
    topic = f"{NAME}-t-changelog"
    records = [Record(topic, 0, offset, 0, "k", data) for offset, data in enumerate((b"1", b"2"))]
    logs = Logs(NAME, {topic: records})
    for number, (row, is_wrong) in enumerate([(b"2", False), (b"1", is_fenced), (b"3", True)]):
        state = tmp_path / str(number)
        path = state / NAME / "1" / "t-0"
        path.parent.mkdir(parents=True)
        store = open_store(path, identity=StoreIdentity(NAME, "t", 0))
        store.write({b"k": row}, changelog_offset=2, source_offset=None)
        store.close()
        found, count = check_stores(state, logs, is_fenced=is_fenced)
        assert (bool(found), count) == (is_wrong, 1), row


async def test_only_kinds_of_the_same_settings_and_strikes_go_together() -> None:
    names = ["at-least-once", "pattern", "at-least-once-kept", "at-least-once-regrouped"]
    assert company(names, 5) == ["at-least-once", "at-least-once-regrouped"]
    assert company(names[1:], 5) == ["pattern"]
    assert app_of([KINDS[names[0]]()]).settings.processing_guarantee == "at_least_once"


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM stored WHERE rowid = 7",
        "INSERT INTO stored SELECT * FROM stored WHERE rowid = 7",
    ],
)
async def test_S9_a_row_of_the_database_that_is_missing_or_double_is_noticed(
    seen: Seen, change: str
) -> None:
    assert seen.judge("outbox", seen.records) == []
    before = database().read_bytes()
    try:
        with closing(sqlite3.connect(database())) as db:
            db.execute("PRAGMA journal_mode=DELETE")
            db.execute(change)
            db.commit()
        assert seen.judge("outbox", seen.records)
    finally:
        database().write_bytes(before)
