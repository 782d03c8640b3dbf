"""Tables of sets that every worker holds whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.wire.hashing import partition_for_key

PARTITIONS = 4
KEYS = [f"k{number}" for number in range(12)]


class Groups:
    """Who is in which group; asked for anywhere."""

    def __init__(self, **settings: int) -> None:
        app = self.app = fs.App("groups", **settings)
        self.joins = app.topic("joins", key_type=str, value_type=str, partitions=PARTITIONS)
        self.asks = app.topic("asks", key_type=str, value_type=str, partitions=PARTITIONS)
        self.answers = app.topic("answers", value_type=str, partitions=1)
        self.members = app.SetGlobalTable(
            "members", partitions=PARTITIONS, start_manager=True, help="who is where"
        )

        @app.agent(self.joins)
        async def join(stream: fs.Stream[str]) -> None:
            async for key, member in stream.items():
                if member.startswith("-"):
                    self.members[key].discard(member[1:])
                else:
                    self.members[key].add(member)

        @app.agent(self.asks, sink=[self.answers])
        async def ask(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key in stream:
                found = sorted(self.members[key])
                yield f"{key}: {','.join(found)} of {len(self.members)}"


def test_any_worker_reads_every_keys_set() -> None:
    groups = Groups()
    with groups.app.test_context(workers=2) as context:
        for key in KEYS:
            for member in ("a", "b", "c", "-b"):
                context.topic(groups.joins).send(member, key=key)
        context.advance(1.0)
        for partition in range(PARTITIONS):
            for key in KEYS:
                context.topic(groups.asks).send(key, key=key, partition=partition)
        expected = [f"{key}: a,c of {len(KEYS)}" for key in KEYS for _ in range(PARTITIONS)]
        assert sorted(context.topic(groups.answers).values) == sorted(expected)
        found = dict(context.table(groups.members).items())
        assert found == {key: {"a", "c"} for key in KEYS}
        context.lose_state()
        context.topic(groups.asks).send("k0", key="k0")
        assert context.topic(groups.answers).values[-1] == f"k0: a,c of {len(KEYS)}"


def test_members_are_where_their_key_is_and_a_key_has_one_writer() -> None:
    groups = Groups()
    rows = groups.members.rows
    for key in KEYS:
        row = rows.row_keys.encode((key, "m\0ember"))
        assert rows.topic_key(row) == key.encode()
    foreign = next(key for key in KEYS if partition_for_key(key.encode(), PARTITIONS) != 1)
    with groups.app.test_context() as context:
        context.topic(groups.joins).send("a", key=foreign, partition=1, settle=False)
        with pytest.raises(fs.AgentFailed, match="a key has one writer"):
            context.settle()


def test_the_manager_changes_sets_from_anywhere() -> None:
    groups = Groups()
    with groups.app.test_context(workers=2) as context:
        context.run(groups.members.manager.add("k1", "z"))
        context.topic(groups.asks).send("k1", key="a")
        assert context.topic(groups.answers).values[-1] == "k1: z of 1"


def test_what_it_cannot_do_is_said() -> None:
    app = fs.App("groups")
    members = app.SetGlobalTable("members")
    with pytest.raises(fs.AppError, match="one by one"):
        members.clear()
    with pytest.raises(fs.AppError, match="no manager"):
        _ = members.manager
    with pytest.raises(fs.AppError, match="say partitions=N"):
        app.SetGlobalTable("managed", start_manager=True)
    with pytest.raises(TypeError, match="ttl"):
        app.SetGlobalTable("short", ttl=5)  # type: ignore[call-overload]
    assert (repr(members), isinstance(members, fs.SetTable)) == ("SetGlobalTable('members')", True)
