"""Set tables against a dict of sets; one row per member; over commits, crashes and restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import flowstream as fs
from flowstream.transport.types import NewTopic
from tests.processing.bench import Bench
from tests.processing.conftest import Kit

KEYS: dict[Any, list[Any]] = {
    str: ["", "a", "a\0", "a\0\x01", "ab"],
    bytes: [b"", b"\0", b"\0\1", b"\xff", b"\0\xff\0"],
    int: [-1, 0, 1, 256],
    dict[str, int]: [{}, {"a": 1}],
}
MEMBERS: dict[Any, list[Any]] = {
    str: ["", "\0\x01", "x", "y"],
    int: [-5, 0, 5, 1000],
    tuple[str, int]: [("a", 1), ("a", 2), ("", 0)],
}


def bench_of(key_type: Any = str, value_type: Any = int, **options: Any) -> tuple[Bench, Any]:
    table: Any = fs.App("bench").SetTable("t", key_type=key_type, value_type=value_type, **options)
    return Bench(table.rows), table


class Sets(RuleBasedStateMachine):
    """The model: a set per key that has members."""

    @initialize(keys=st.sampled_from([str, bytes, int]), members=st.sampled_from(list(MEMBERS)))
    def begin(self, keys: Any, members: Any) -> None:
        self.keys, self.members = KEYS[keys], MEMBERS[members]
        self.bench, self.table = bench_of(keys, members)
        self.model: dict[Any, set[Any]] = {}
        self.committed: dict[Any, set[Any]] = {}

    @rule(data=st.data())
    def unit(self, data: st.DataObject) -> None:
        with self.bench.unit():
            for _ in range(data.draw(st.integers(1, 4))):
                key = data.draw(st.sampled_from(self.keys))
                some = data.draw(st.sets(st.sampled_from(self.members)))
                act = data.draw(st.sampled_from(ACTS))
                found = self.model.setdefault(key, set())
                assert act(self.table, key, self.table[key], some) == act(
                    self.model, key, found, some
                )
                self.model = {k: v for k, v in self.model.items() if v}
                assert set(self.table[key]) == self.model.get(key, set())
                assert (key in self.table) is (key in self.model)
            assert list(self.table) == sorted(self.model)
            assert len(self.table) == len(self.model)
            assert {k: v.copy() for k, v in self.table.items()} == self.model

    @rule()
    def commit(self) -> None:
        rows = self.bench.commit()
        assert all(value in (None, b"") for value in rows.values())
        self.committed = {k: set(v) for k, v in self.model.items()}

    @rule()
    def crash(self) -> None:
        self.bench.open()
        self.model = {k: set(v) for k, v in self.committed.items()}


def replace(table: Any, key: Any, found: Any, some: Any) -> None:
    table[key] = some


def unite(table: Any, key: Any, found: Any, some: Any) -> None:
    table[key] |= some


def remove(table: Any, key: Any, found: Any, some: Any) -> None:
    if found:
        del table[key]


ACTS: list[Any] = [
    replace,
    unite,
    remove,
    lambda t, k, found, some: [found.add(each) for each in some],
    lambda t, k, found, some: [found.discard(each) for each in some],
    lambda t, k, found, some: found.update(some, some),
    lambda t, k, found, some: found.clear(),
    lambda t, k, found, some: found.difference_update(some),
    lambda t, k, found, some: found.intersection_update(some),
    lambda t, k, found, some: found.symmetric_difference_update(some),
    lambda t, k, found, some: found.union(some),
    lambda t, k, found, some: found.intersection(some),
    lambda t, k, found, some: found.difference(some),
    lambda t, k, found, some: found.symmetric_difference(some),
    lambda t, k, found, some: (found.issubset(some), found.issuperset(some), found == some),
    lambda t, k, found, some: (found | some, found & some, found - some, found ^ some),
    lambda t, k, found, some: (len(found), bool(found), found.isdisjoint(some)),
    lambda t, k, found, some: t.pop(k) if found else None,
    lambda t, k, found, some: t.clear() if len(some) == 1 else None,
]

Sets.TestCase.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
TestSets = Sets.TestCase


def test_a_member_is_a_row() -> None:
    bench, table = bench_of()
    with bench.unit():
        table["a"].update([1, 2, 3])
    assert len(bench.commit()) == 3
    with bench.unit():
        table["a"].add(2)
        table["a"].add(4)
        table["a"].discard(1)
        table["a"].discard(9)
    rows = bench.commit()
    assert rows == {b"a\0\x01\x15\x04": b"", b"a\0\x01\x15\x01": None}


def test_what_a_mapping_gives_for_nothing() -> None:
    bench, table = bench_of()
    with bench.unit():
        assert (table.get("a"), table.get("a", 5), table.pop("a", 7)) == (None, 5, 7)
        assert table.setdefault("a", [1, 2]).copy() == {1, 2}
        assert table.setdefault("a", [3]).copy() == {1, 2}
        assert table.popitem() == ("a", {1, 2})
        for act in (lambda: table.pop("a"), table.popitem, lambda: table.__delitem__("a")):
            with pytest.raises(KeyError):
                act()
        assert (5 in table, "x" in table["a"], repr(table["a"])) == (
            False,
            False,
            "MemberSet('t', 'a')",
        )


def test_a_key_and_a_member_of_another_type_are_told_apart() -> None:
    bench, table = bench_of(str, str)
    with bench.unit():
        with pytest.raises(TypeError, match=r"a member of table 't': .*5; .*value_type=int"):
            table["a"].add(5)
        with pytest.raises(TypeError, match=r"a key of table 't': .*5; .*key_type=int"):
            table[5].add("a")


def test_members_have_a_time_to_live_of_their_own() -> None:
    bench, table = bench_of(ttl=0.1)
    with bench.unit(0):
        table["a"].update([1, 2])
    with bench.unit(50):
        table["a"].add(2)
    bench.commit()
    with bench.unit(120):
        assert table["a"].copy() == {2}
        table["b"].add(1)
    bench.commit()
    assert bench.store.count() == 3, "a/2, b/1 and the time"


async def test_S10_sets_survive_a_restart_and_a_lost_store(kit: Kit, name: str) -> None:
    def make(**settings: Any) -> tuple[fs.App, fs.Topic[str, str]]:
        app = kit.app(name, **settings)
        words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
        out = app.topic(f"{name}-out", value_type=str, partitions=1)
        seen = app.SetTable("seen", value_type=str)

        @app.agent(words, sink=[out])
        async def see(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, word in stream.items():
                if word.startswith("-"):
                    seen[key].discard(word[1:])
                else:
                    seen[key].add(word)
                yield "".join(sorted(seen[key]))

        return app, words

    app, words = make()
    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(f"{name}-out", 1)])
    for word in ("a", "b", "a", "-b"):
        await words.send(key="k", value=word)
    await kit.run_until(app, kit.count(f"{name}-out", 4))
    for count, where in ((5, {}), (6, {"data_dir": kit.directory / "elsewhere"})):
        app, words = make(**where)
        await words.send(key="k", value="cd"[count - 5])
        await kit.run_until(app, kit.count(f"{name}-out", count))
    values = await kit.values(f"{name}-out")
    assert values == [b"a", b"ab", b"ab", b"a", b"ac", b"acd"]
    rows = [record.key for record in await kit.records(app.changelog("seen"))]
    assert rows.count(b"k\0\x01a") == 1, "adding it again wrote nothing"
