"""A value type that changed: old rows are read when they can be, else the error says what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

import flowstream as fs
from flowstream.processing.values.codecs import codec_of
from flowstream.state.memory import MemoryStore
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.bench import Bench
from tests.processing.conftest import Kit
from tests.processing.rig import Rig


class Struct(msgspec.Struct):
    name: str
    age: int = 0


class Frozen(msgspec.Struct, frozen=True):
    name: str
    city: str


class Model(pydantic.BaseModel):
    name: str
    city: str


@dataclass
class Data:
    name: str
    city: str


def bench(value_type: Any, row: bytes, migrate: Any = None, **options: Any) -> Bench:
    store = MemoryStore()
    store.write({b"\x15\x07": row})
    table = fs.App("bench").Table(
        "people", key_type=int, value_type=value_type, migrate=migrate, ordered=True, **options
    )
    return Bench(table, store)


def test_a_new_field_with_a_default_needs_nothing() -> None:
    old = bench(Struct, b'{"name":"Ada","gone":1}')
    with old.unit():
        assert old.table[7] == Struct("Ada", 0)


@pytest.mark.parametrize("value_type", [Model, Data, Frozen])
def test_what_does_not_fit_names_table_key_field_and_remedy(value_type: Any) -> None:
    old = bench(value_type, b'{"name":"Ada"}')
    with old.unit(), pytest.raises(fs.RowUnreadable) as caught:
        old.table[7]
    told = str(caught.value)
    assert "table 'people': the row of key 7 " in told
    assert "city" in told
    assert "migrate=" in told
    assert "\n" not in told
    with old.unit(), pytest.raises(fs.RowUnreadable, match="key 7"):
        list(old.table.items())


def add_city(row: dict[str, Any]) -> Any:
    return Model(name=row["name"], city="London")


@pytest.mark.parametrize("ttl", [None, 60])
def test_the_hook_makes_the_value_and_the_next_write_keeps_it(ttl: float | None) -> None:
    row = b'{"name":"Ada"}' if ttl is None else bytes(8) + b'{"name":"Ada"}'
    old = bench(Model, row, add_city, ttl=ttl)
    with old.unit():
        assert old.table[7].city == "London"
        assert [value.city for value in old.table.values()] == ["London"]
    assert old.commit() == {}, "reading writes nothing"
    with old.unit():
        old.table[7] = old.table[7]
    (kept,) = [data for key, data in old.commit().items() if key == b"\x15\x07"]
    assert kept is not None
    assert kept.endswith(b'{"name":"Ada","city":"London"}')


def test_what_is_no_object_comes_as_bytes() -> None:
    seen: list[Any] = []

    def migrate(row: Any) -> int:
        seen.append(row)
        return 5

    for row in (b"five", b"[5]", b"\xff"):
        old = bench(int, row, migrate)
        with old.unit():
            assert old.table[7] == 5
    assert seen == [b"five", b"[5]", b"\xff"]


def test_a_hook_that_fails_is_named() -> None:
    old = bench(Model, b'{"nom":"Ada"}', add_city)
    with old.unit(), pytest.raises(fs.RowUnreadable, match=r"migrate= failed .* key 7 .*'name'"):
        old.table.get(7)


POLICIES: list[Any] = ["skip", "dead_letter", "retry", "park", fs.retry(1, then="skip")]


@pytest.mark.parametrize("how", [{}, {"concurrency": 2, "order": "key"}])
@pytest.mark.parametrize("policy", POLICIES)
async def test_S11_a_row_that_nobody_can_read_stops_the_worker_whatever_the_policy(
    policy: Any, how: dict[str, Any]
) -> None:
    app = fs.App("people", retry_backoff=0.001)
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    people = app.Table("people", value_type=Model)

    @app.agent(words, on_error=policy, **how)
    async def read(stream: fs.Stream[str]) -> None:
        async for word in stream:
            people.get(word)

    rig = Rig(app)
    await rig.open()
    rig.stores["people"].write({b"ada": b'{"name":"Ada"}'})
    for word in (b"bob", b"ada", b"eve"):
        rig.put("words", word, word)
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert isinstance(rig.failure, fs.AgentFailed)
    assert "declare the table with migrate=" in str(rig.failure)
    assert rig.log == []
    assert rig.counts.skipped == rig.counts.dead_letters == rig.counts.parked == 0
    assert rig.counts.retried == 0
    assert rig.positions[TopicPartition("words", 0)] == 1, "the event is there once it is mended"
    await rig.crash()


async def test_S11_a_parked_event_that_needs_such_a_row_stops_the_worker() -> None:
    app = fs.App("people")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    people = app.Table("people", value_type=Model)
    is_bad = True

    @app.agent(words, on_error=fs.park(1, backoff=1, then="skip"))
    async def read(stream: fs.Stream[str]) -> None:
        async for word in stream:
            if is_bad:
                raise ValueError("not yet")
            people.get(word)

    rig = Rig(app)
    await rig.open()
    rig.stores["people"].write({b"ada": b'{"name":"Ada"}'})
    rig.put("words", b"ada", b"ada")
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert rig.counts.parked == 1
    parked = rig.rows("read-parked")
    is_bad, rig.clock_ms = False, 5_000
    rig.task.tick()
    await rig.settle()
    assert "declare the table with migrate=" in str(rig.failure)
    rig.commit()
    assert (rig.counts.skipped, rig.rows("read-parked")) == (0, parked)
    await rig.crash()


async def test_S11_a_version_that_nobody_can_read_stops_the_worker() -> None:
    app = fs.App("people")
    people = app.table(
        app.topic("people", key_type=str, value_type=dict[str, str], partitions=1), history=60
    )
    words = app.topic("words", key_type=str, value_type=str, partitions=1)

    @app.agent(words, on_error="dead_letter")
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream.join(people, as_of=True):
            pass

    rig = Rig(app)
    await rig.open()
    rig.put("people", b"ada", b'{"name":"Ada"}', at_ms=1_000)
    rig.put("words", b"ada", b"x", at_ms=2_000)
    rig.deliver()
    await rig.settle()
    people.value_codec = codec_of(Model)
    rig.put("people", b"bob", b'{"name":"Bob","city":"Rome"}', at_ms=9_000)
    rig.put("words", b"bob", b"y", at_ms=9_000)
    for _ in range(3):
        rig.deliver()
        await rig.settle()
        rig.commit()
    assert "table 'people': the row of key 'ada' does not fit" in str(rig.failure)
    assert rig.counts.dead_letters == 0
    await rig.crash()


@pytest.mark.parametrize("migrates", [False, True])
async def test_an_app_goes_on_with_a_new_value_type(kit: Kit, name: str, migrates: bool) -> None:
    def app_of(value_type: Any, **options: Any) -> tuple[fs.App, fs.Topic[str, str]]:
        app = kit.app(name)
        words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
        out = app.topic(f"{name}-out", value_type=str, partitions=1)
        people = app.Table("people", value_type=value_type, **options)

        @app.agent(words, sink=[out])
        async def keep(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, value in stream.items():
                person = people.get(key)
                if person is None:
                    person = {"name": value}
                people[key] = person
                yield str(person)

        return app, words

    app, words = app_of(dict[str, str])
    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(f"{name}-out", 1)])
    await words.send(key="k", value="Ada")
    await kit.run_until(app, kit.count(f"{name}-out", 1))
    app, words = app_of(Model, migrate=add_city if migrates else None)
    await words.send(key="k", value="Bob")
    if migrates:
        await kit.run_until(app, kit.count(f"{name}-out", 2))
        assert (await kit.values(f"{name}-out"))[1] == b"name='Ada' city='London'"
        last = (await kit.values(app.changelog("people")))[-1]
        assert last == b'{"name":"Ada","city":"London"}'
        return
    with pytest.raises(fs.AgentFailed) as caught:
        await fs.Worker(app, kit.address).run()
    assert "table 'people': the row of key 'k'" in str(caught.value.__cause__)
