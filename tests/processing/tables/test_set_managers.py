"""Tables: sets that are changed from anywhere, and what a declaration says beside types."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


async def test_sets_are_changed_from_outside_of_their_events(kit: Kit, name: str) -> None:
    app = kit.app(name)
    asked = app.topic(f"{name}-asked", key_type=str, value_type=str, partitions=2)
    tags = app.SetTable("tags", value_type=int, partitions=2, start_manager=True)
    assert tags.manager.topic.name == f"{name}-tags-setmanager"

    @app.agent(asked)
    async def show(stream: fs.Stream[str]) -> Any:
        async for key, _ in stream.items():
            yield sorted(tags[key])

    await kit.create(app)
    async with kit.running(app):
        manager = tags.manager
        await manager.update("a", [1, 2, 3, 4])
        await manager.add("a", 5)
        await manager.discard("a", 1)
        await manager.difference_update("a", [2, 9])
        await manager.intersection_update("a", {3, 5, 7})
        await manager.symmetric_difference_update("a", [3, 8])
        await manager.add("b", 1)
        await manager.clear("b")
        await kit.until(kit.committed(app, manager.topic.name, 8))
        assert await show.ask("", key="a") == [5, 8]
        assert await show.ask("", key="b") == []


def test_a_manager_needs_to_be_asked_for() -> None:
    app = fs.App("x")
    with pytest.raises(AppError, match="start_manager=True"):
        app.SetTable("plain").manager  # noqa: B018 - asking is what is tested
    with pytest.raises(AppError, match="say partitions=N, too"):
        app.SetTable("tags", start_manager=True)
    named = app.SetTable("n", partitions=1, start_manager=True, manager_topic_name="mine")
    assert named.manager.topic.name == "mine"
    suffixed = app.SetTable("s", partitions=1, start_manager=True, manager_topic_suffix="-x")
    assert suffixed.manager.topic.name == "x-s-x"


async def test_a_table_tells_when_it_is_ready_and_says_how_its_changelog_is_made(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    ready: list[str] = []

    def at_once() -> None:
        ready.append("given")

    schema = fs.Schema(key_type=str, value_type=int)
    counts = app.Table(
        "counts", schema=schema, default=int, help="How often.", on_recover=at_once,
        extra_topic_configs={"segment.ms": "60000", "cleanup.policy": "compact"},
    )  # fmt: skip
    assert (counts.help, counts.value_codec.name) == ("How often.", "int")
    for policy in ("delete", "compact,delete"):
        with pytest.raises(AppError, match="is restored from"):
            app.Table("lost", extra_topic_configs={"cleanup.policy": policy})
    with pytest.raises(AppError, match="config must be a dict"):
        app.Table("lost", extra_topic_configs=[])  # type: ignore[arg-type]
    assert app.GlobalTable("g", default=int, help="Global.").help == "Global."
    assert app.SetTable("s", help="Sets.").rows.help == "Sets."
    app.tables.pop("g")
    app.tables.pop("s")

    @counts.on_recover
    async def later() -> None:
        ready.append("decorated")

    @app.agent(app.topic(f"{name}-words", value_type=str, partitions=1))
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1

    await kit.create(app)
    async with kit.running(app):
        await kit.sees(lambda: ready == ["given", "decorated"])
    found = await kit.admin.topic_settings([app.changelog("counts")], "segment.ms")
    assert list(found.values()) == ["60000"]
    with pytest.raises(AppError, match="by no serializer"):
        app.Table("other", schema=fs.Schema(value_serializer="json|gzip"))


async def test_a_window_of_dicts_is_looked_into(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    table = app.Table("t", value_type=dict[str, int], default=dict).tumbling(10)
    numbers = app.Table("n", default=int).tumbling(10)
    seen: list[Any] = []

    @app.agent(words)
    async def see(stream: fs.Stream[str]) -> None:
        async for word in stream:
            table["k"] = {**table["k"].current(), word: 1}
            windows = table["k"]
            seen.append((list(windows.keys()), list(windows.values()), list(windows.items())))
            with pytest.raises(TypeError, match="holds int values, no dict"):
                numbers["k"].keys()

    await kit.create(app)
    async with kit.running(app):
        await words.send(value="a", timestamp=1.0)
        await kit.until(kit.committed(app, words.name, 1))
    assert seen == [(["a"], [1], [("a", 1)])]


def test_modules_of_a_package_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shop_of_tests"
    (package / "agents").mkdir(parents=True)
    for path in ("__init__.py", "agents/__init__.py", "agents/billing.py", "__main__.py"):
        (package / path).write_text("raise SystemExit\n" if "__main__" in path else "")
    monkeypatch.syspath_prepend(str(tmp_path))
    every = ["shop_of_tests", "shop_of_tests.agents", "shop_of_tests.agents.billing"]
    app = fs.App("x", autodiscover=True, origin="shop_of_tests")
    assert app.discover("shop_of_tests.agents") == every[1:]
    for given in (True, ["shop_of_tests"], lambda: ["shop_of_tests"]):
        app = fs.App("x", autodiscover=given, origin="shop_of_tests")
        for name in every:
            sys.modules.pop(name, None)
        app.configure()
        assert all(name in sys.modules for name in every)
    with pytest.raises(AppError, match="origin="):
        fs.App("x", autodiscover=True)
    with pytest.raises(AppError, match=r"autodiscover=\['shop'\]"):
        fs.App("x", autodiscover="shop")
    with pytest.raises(AppError, match="no package 'shop_of_nobody'"):
        fs.App("x").discover("shop_of_nobody")


def test_ids_are_texts_and_differ() -> None:
    assert len({fs.uuid(), fs.uuid()}) == 2
    assert len(fs.uuid()) == 36
