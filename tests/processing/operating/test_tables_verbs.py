"""`flowstream tables` and `flowstream reset` on an app: running, stopped, damaged, half reset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import flowstream as fs
from flowstream.processing.commit import EXACTLY_ONCE, ORDER, Step
from flowstream.processing.environment.slots import SlotError
from flowstream.processing.operating.resetting import Reset, execute_reset, plan_reset
from flowstream.state.rocksdb import open_store
from flowstream.state.store import StoreIdentity
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit
from tests.processing.operating.verbs import Verbs


class Seat(NamedTuple):
    row: str
    number: int


FIRST = {"start": "1970-01-01T00:00:00.000Z", "end": "1970-01-01T00:01:00.000Z"}
SECOND = {"start": "1970-01-01T00:01:00.000Z", "end": "1970-01-01T00:02:00.000Z"}


class Shop(Verbs):
    """An app with a table of each kind over one topic, and a re-keyed stream."""

    def __init__(self, kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kit = kit
        self.app = kit.app(name)
        self.words = self.app.topic(f"{name}-in", key_type=str, value_type=int, partitions=2)
        counts = self.app.Table("counts", default=int)
        seats = self.app.Table("seats", key_type=Seat, default=int, ordered=True)
        recent = self.app.Table("recent", default=int, ttl=10)
        members = self.app.SetTable("members", value_type=int)
        windows = self.app.Table("windows", default=int).tumbling(60)
        whole = self.app.GlobalTable("whole", default=int)

        @self.app.agent(self.words)
        async def count(stream: fs.Stream[int]) -> None:
            async for key, number in stream.items():
                counts[key] += number
                seats[Seat(key, number)] = number
                recent[key] = number
                members[key].add(number)
                windows[key] += number
                whole[key] = number

        super().__init__(self.app, monkeypatch)

    async def feed(self, *records: tuple[str, int, float]) -> None:
        """Send (key, number, seconds)."""
        for key, number, seconds in records:
            await self.words.send(key=key, value=number, timestamp=seconds)

    async def verdicts(self) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and rows of `verify`."""
        result = await self.call("tables", "verify", "--json")
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
async def shop(kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """See Shop."""
    await kit.admin.create_topics([NewTopic(f"{name}-in", 2)])
    return Shop(kit, name, monkeypatch)


RECORDS = (("a", 1, 1.0), ("b", 2, 2.0), ("a", 3, 70.0))


async def see(shop: Shop) -> None:
    """Every verb shows what is committed."""
    assert sorted(map(str, await shop.lines("scan", "counts"))) == [
        "{'key': 'a', 'value': 4}",
        "{'key': 'b', 'value': 2}",
    ]
    assert await shop.lines("get", "counts", "a") == [{"key": "a", "value": 4}]
    assert await shop.lines("get", "seats", '["a", 3]') == [{"key": ["a", 3], "value": 3}]
    assert await shop.lines("get", "windows", "a") == [
        {"key": "a", "value": 1, "window": 0.0, **FIRST},
        {"key": "a", "value": 3, "window": 60.0, **SECOND},
    ]
    assert await shop.lines("get", "members", "a") == [
        {"key": "a", "value": 1},
        {"key": "a", "value": 3},
    ]
    assert await shop.lines("get", "recent", "a") == [{"key": "a", "value": 3, "at": 70.0}]
    assert await shop.lines("get", "whole", "b") == [{"key": "b", "value": 2}]
    assert await shop.lines("scan", "counts", "--prefix", "b") == [{"key": "b", "value": 2}]
    assert await shop.lines("scan", "counts", "--start", "b") == [{"key": "b", "value": 2}]
    assert await shop.lines("scan", "counts", "--stop", "b") == [{"key": "a", "value": 4}]
    assert len(await shop.lines("scan", "seats", "-n", "2", "--reverse")) == 2
    assert {row["key"][0] for row in await shop.lines("scan", "seats", "--prefix", '["b"]')} == {
        "b"
    }
    wrong = await shop.call("tables", "scan", "seats", "--prefix", "b")
    assert (wrong.exit_code, "a JSON list of their first fields" in wrong.stderr) == (1, True)
    assert len(await shop.lines("export", "seats")) == 3
    missing = await shop.call("tables", "get", "counts", "nobody")
    assert (missing.exit_code, "no key" in missing.stderr) == (1, True)
    listed = await shop.call("tables", "list", "--json")
    kinds = {row["table"]: (row["kind"], row["partitions"]) for row in json.loads(listed.stdout)}
    assert kinds == {
        "counts": ("table", 2),
        "seats": ("table", 2),
        "recent": ("table, ttl 10 s", 2),
        "members": ("set", 2),
        "windows": ("windowed", 2),
        "whole": ("global", 2),
    }


async def test_S8_tables_are_read_and_verified_running_and_stopped(
    shop: Shop, kit: Kit, tmp_path: Path
) -> None:
    await shop.feed(*RECORDS)
    async with kit.running(shop.app):
        await kit.until(kit.committed(shop.app, shop.words.name, 3))
        await see(shop)
        status, rows = await shop.verdicts()
        assert status == 0
        reasons = {row["verdict"] for row in rows} - {"equal"}
        assert all("nothing is on disk yet" in reason for reason in reasons)
        # For people one line says so of all of them.
        told = await shop.call("tables", "verify")
        count = sum("nothing is on disk yet" in row["verdict"] for row in rows)
        assert count > 1
        assert "nothing is on disk yet" not in told.output
        assert f"{count} stores have nothing on disk yet" in told.output
    await see(shop)
    status, rows = await shop.verdicts()
    assert (status, {row["verdict"] for row in rows}) == (0, {"equal"})
    assert len(rows) == 12
    result = await shop.call("tables", "export", "counts", "-o", str(tmp_path / "rows"))
    assert result.output == f"2 rows of counts are in {tmp_path / 'rows'}\n"
    assert len((tmp_path / "rows").read_text().splitlines()) == 2


async def test_S8_windows_of_a_longer_key_are_not_the_keys(shop: Shop, kit: Kit) -> None:
    await shop.feed(*RECORDS, ("a@1990", 5, 1.0), ("a@b", 6, 1.0))
    await kit.run_until(shop.app, kit.committed(shop.app, shop.words.name, 5))
    assert await shop.lines("get", "windows", "a") == [
        {"key": "a", "value": 1, "window": 0.0, **FIRST},
        {"key": "a", "value": 3, "window": 60.0, **SECOND},
    ]
    assert await shop.lines("get", "windows", "a@1990") == [
        {"key": "a@1990", "value": 5, "window": 0.0, **FIRST}
    ]


async def test_timers_are_shown_with_key_value_and_instant(shop: Shop, kit: Kit) -> None:
    later = shop.app.Timers("later", key_type=str, value_type=int)

    @shop.app.agent(shop.words)
    async def remind(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            later.set(key, number, after=1000)

    @shop.app.agent(later)
    async def reminded(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    await shop.feed(("a", 1, 1.0), ("b", 2, 2.5))
    async with kit.running(shop.app):
        await kit.until(kit.committed(shop.app, shop.words.name, 2))
    a, b = ({"key": "a", "value": 1, "at": 1001.0}, {"key": "b", "value": 2, "at": 1002.5})
    assert sorted(await shop.lines("scan", "later"), key=lambda row: row["key"]) == [a, b]
    assert await shop.lines("get", "later", "a") == [a]
    assert await shop.lines("scan", "later", "--prefix", "b") == [b]
    assert await shop.lines("scan", "later", "--start", "b") == [b]
    listed = json.loads((await shop.call("tables", "list", "--json")).stdout)
    assert {row["kind"] for row in listed if row["table"] == "later"} == {"timers"}


async def test_D7_a_store_that_differs_is_told(shop: Shop, kit: Kit) -> None:
    await shop.feed(*RECORDS)
    await kit.run_until(shop.app, kit.committed(shop.app, shop.words.name, 3))
    for number in range(2):
        path = Path(shop.app.settings.data_dir) / f"state/{shop.app.id}/0/counts-{number}"
        store = open_store(path, StoreIdentity(shop.app.id, "counts", number))
        rows = dict(store.scan())
        store.write({key: b"99" if key == b"a" else None for key in rows} | {b"z": b"1"})
        store.close()
    status, found = await shop.verdicts()
    assert status == 1
    wrong = [row for row in found if row["verdict"] == "DIFFERS"]
    assert {row["table"] for row in wrong} == {"counts"}
    sums = {name: sum(row[name] for row in wrong) for name in ("missing", "extra", "different")}
    assert sums == {"missing": 1, "extra": 2, "different": 1}


async def test_bad_questions_have_answers(shop: Shop, kit: Kit) -> None:
    never = await shop.call("tables", "get", "counts", "a")
    assert "has not run here yet" in never.stderr
    await shop.feed(*RECORDS)
    await kit.run_until(shop.app, kit.committed(shop.app, shop.words.name, 3))
    for words, told in (
        (("get", "nothing", "a"), "no table 'nothing', only counts, members"),
        (("get", "seats", "x"), "no key of table 'seats'"),
        (("scan", "counts", "-p", "7"), "partitions 0 to 1"),
        (("export", "counts", "-o", "/none/x"), "/none/x cannot be written: No such file"),
    ):
        result = await shop.call("tables", *words)
        assert (result.exit_code, told in result.stderr) == (1, True), result.stderr


async def outcome(shop: Shop) -> list[dict[str, Any]]:
    """The table after the app has run to the end of its input."""
    kit = shop.kit
    await kit.run_until(shop.app, kit.committed(shop.app, shop.words.name, 3))
    return sorted(await shop.lines("scan", "counts"), key=str)


async def test_G6_a_reset_tells_first_and_then_begins_anew(shop: Shop, kit: Kit) -> None:
    await shop.feed(*RECORDS)
    before = await outcome(shop)
    async with kit.running(shop.app) as worker:
        await kit.until(_has_tasks(worker))
        refused = await shop.call("reset", "--execute")
        assert (refused.exit_code, "is running" in refused.stderr) == (1, True)
        assert "delete" not in refused.output
        told = await shop.call("reset")
        assert f"delete topic {shop.app.changelog('counts')}" in told.output
        assert f"would be refused now: app {shop.app.id!r} is running" in told.output
        assert told.exit_code == 0
    told = await shop.call("reset")
    assert "--execute would do" in told.output
    assert f"delete topic {shop.app.changelog('counts')}" in told.output
    assert f"delete group {shop.app.id} with its offsets" in told.output
    assert await kit.admin.group_offsets(shop.app.id)
    assert sorted(await shop.lines("scan", "counts"), key=str) == before
    done = await shop.call("reset", "--execute")
    assert done.exit_code == 0, done.stderr
    assert not (Path(shop.app.settings.data_dir) / "state" / shop.app.id).exists()
    assert "nothing to reset" in (await shop.call("reset")).output
    assert await outcome(shop) == before


STEPS = ["repartitions", "offsets", "changelogs", "stores", "mark"]


class Cut(Exception):
    """The process dies here."""


@pytest.mark.parametrize("step", STEPS)
async def test_G3_a_reset_that_was_cut_off_is_finished_by_the_next(
    shop: Shop, kit: Kit, step: str
) -> None:
    await shop.feed(*RECORDS)
    before = await outcome(shop)
    directory = Path(shop.app.settings.data_dir)

    def cut(at: str) -> None:
        if at == step:
            raise Cut

    reset = await plan_reset(shop.app, kit.admin, directory, dead_letters=False)
    with pytest.raises(Cut):
        await execute_reset(reset, kit.admin, checkpoint=cut)
    with pytest.raises(SlotError, match="flowstream reset"):
        await fs.Worker(shop.app, kit.address).run()
    done = await shop.call("reset", "--execute")
    assert done.exit_code == 0, done.stderr
    assert await outcome(shop) == before


async def test_a_reset_that_meets_a_worker_leaves_no_mark(shop: Shop, kit: Kit) -> None:
    directory = Path(shop.app.settings.data_dir)
    reset = await plan_reset(shop.app, kit.admin, directory, dead_letters=False)
    async with kit.running(shop.app) as worker:
        await kit.until(_has_tasks(worker))
        with pytest.raises(SlotError, match="is running"):
            await execute_reset(reset, kit.admin)
    await kit.run_until(shop.app, _true)


async def test_a_reset_is_done_though_its_directory_stays(kit: Kit, tmp_path: Path) -> None:
    """It is a disk of its own, or has something of somebody else's in it."""
    state = tmp_path / "state" / "app"
    (state / "0").mkdir(parents=True)
    (state / "note").touch()
    await execute_reset(Reset("app", (), (), (), (), (), state), kit.admin)
    assert [path.name for path in state.iterdir()] == ["note"]


async def _true() -> bool:
    return True


def _has_tasks(worker: fs.Worker) -> Any:
    async def holds() -> bool:
        return bool(worker.tasks)

    return holds


async def test_what_is_re_keyed_is_reset_too(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, on_error="dead_letter")
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream.group_by(lambda word: word, name="by-word"):
            if word == "bad":
                raise ValueError(word)
            counts[word] += 1

    await kit.admin.create_topics([NewTopic(words.name, 1)])
    through = app.repartition("by-word")
    for word in ("x", "bad"):
        await words.send(key="k", value=word)
    await kit.run_until(app, kit.committed(app, through, 2))
    directory = Path(app.settings.data_dir)
    kept = await plan_reset(app, kit.admin, directory, dead_letters=False)
    assert (kept.repartitions, kept.dead_letters) == ((through,), ())
    reset = await plan_reset(app, kit.admin, directory, dead_letters=True)
    assert reset.dead_letters == (app.dead_letters,)
    await execute_reset(reset, kit.admin)
    left = await kit.admin.topics([through, app.changelog("counts"), app.dead_letters, words.name])
    assert set(left) == {words.name}


class Crash(Exception):
    """The worker dies here."""


@pytest.mark.parametrize("step", [s for s in ORDER[EXACTLY_ONCE] if s is not Step.CLOSE])
async def test_S2_S8_every_kind_of_table_survives_a_crash_before_any_step(
    shop: Shop, kit: Kit, step: Step
) -> None:
    def crash(name: str) -> None:
        if name == step.value:
            raise Crash

    records = [(f"k{n % 5}", n, float(n)) for n in range(30)]
    await shop.feed(*records[:10])
    with pytest.raises(Crash):
        await fs.Worker(shop.app, kit.address, checkpoint=crash).run()
    await shop.feed(*records[10:])
    await kit.run_until(shop.app, kit.committed(shop.app, shop.words.name, 30))
    model = {f"k{key}": [n for n in range(30) if n % 5 == key] for key in range(5)}
    found = {row["key"]: row["value"] for row in await shop.lines("export", "counts")}
    assert found == {key: sum(numbers) for key, numbers in model.items()}
    members: dict[str, list[int]] = {}
    for row in await shop.lines("export", "members"):
        members.setdefault(row["key"], []).append(row["value"])
    assert members == model, "in order, too"
    seats = [tuple(row["key"]) for row in await shop.lines("export", "seats")]
    assert sorted(seats) == sorted((key, n) for key, numbers in model.items() for n in numbers)
    whole = {row["key"]: row["value"] for row in await shop.lines("export", "whole")}
    assert whole == {key: numbers[-1] for key, numbers in model.items()}
    recent = {row["key"]: row["value"] for row in await shop.lines("export", "recent")}
    assert recent == whole
    status, rows = await shop.verdicts()
    assert (status, {row["verdict"] for row in rows}) == (0, {"equal"})


async def test_an_agents_own_topic_stays_unless_it_is_to_go(shop: Shop, kit: Kit) -> None:
    got: list[object] = []

    @shop.app.agent()
    async def asked(stream: fs.Stream[Any]) -> None:
        async for value in stream:
            got.append(value)

    own = f"{shop.app.id}-asked"
    await kit.admin.create_topics([NewTopic(own, 2)])
    await asked.cast(7)
    await kit.run_until(shop.app, kit.committed(shop.app, own, 1))
    told = (await shop.call("reset")).output
    assert f"keep topic {own}, an agent's own: what was sent there is read again" in told
    assert (await shop.call("reset", "--execute")).exit_code == 0
    await kit.run_until(shop.app, kit.committed(shop.app, own, 1))
    assert got == [7, 7]
    told = (await shop.call("reset", "--agent-topics")).output
    assert (f"delete topic {own}\n" in told, "keep topic" in told) == (True, False)
    assert (await shop.call("reset", "--agent-topics", "--execute")).exit_code == 0
    assert own not in await kit.admin.topics(None)
