"""Stores that were away: what a changelog may have forgotten meanwhile."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit


def keeping(kit: Kit, name: str, **settings: Any) -> tuple[fs.App, fs.Topic[str, str]]:
    """An app that keeps the last value of a key; `-` deletes it."""
    app = kit.app(name, **settings)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    kept = app.Table("kept", value_type=str)

    @app.agent(words, sink=[out])
    async def keep(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.items():
            if value == "-":
                del kept[key]
            else:
                kept[key] = value
            yield " ".join(f"{k}{v}" for k, v in sorted(kept.items()))

    return app, words


@pytest.mark.parametrize("is_old", [False, True])
async def test_D7_a_changelog_made_anew_is_not_the_one_that_the_store_knows(
    kit: Kit, name: str, is_old: bool
) -> None:
    """A store that is too old is rebuilt, but not from another changelog: it may be the last that
    has the rows of the first.
    """
    app, words = keeping(kit, name)
    configs = {"cleanup.policy": "compact", "delete.retention.ms": "1"} if is_old else {}
    changelog = NewTopic(app.changelog("kept"), 1, configs=configs)
    await kit.admin.create_topics([NewTopic(words.name, 1), changelog])
    await words.send(key="a", value="1")
    await kit.run_until(app, kit.committed(app, words.name, 1))
    elsewhere, words = keeping(kit, name, data_dir=kit.directory / "elsewhere")
    await kit.admin.delete_topics([app.changelog("kept")])
    await kit.admin.create_topics([changelog])
    await kit.admin.delete_group(app.id)
    await words.send(key="b", value="2")
    await kit.run_until(elsewhere, kit.committed(elsewhere, words.name, 2))
    # The first store's offset lies within the new changelog: nothing else tells them apart.
    back, _ = keeping(kit, name)
    with pytest.raises(fs.StateLost, match="made anew"):
        await fs.Worker(back, kit.address).run()


@pytest.mark.parametrize("retention_ms", [1, 3_600_000])
async def test_S10_a_store_that_was_away_longer_than_deletions_are_kept_is_rebuilt(
    kit: Kit, name: str, retention_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    app, words = keeping(kit, name)
    # The topic's setting counts, not what the app would have created it with.
    configs = {"cleanup.policy": "compact", "delete.retention.ms": str(retention_ms)}
    await kit.admin.create_topics(
        [NewTopic(app.changelog("kept"), 1, configs=configs), NewTopic(words.name, 1)]
    )
    await words.send(key="a", value="1")
    await kit.run_until(app, kit.committed(app, words.name, 1))
    elsewhere, words = keeping(kit, name, data_dir=kit.directory / "elsewhere")
    await words.send(key="b", value="2")
    await words.send(key="a", value="-")
    await kit.run_until(elsewhere, kit.committed(elsewhere, words.name, 3))
    back, words = keeping(kit, name)
    await words.send(key="c", value="3")
    with caplog.at_level(logging.WARNING, "flowstream.restore"):
        await kit.run_until(back, kit.committed(back, words.name, 4))
    assert await kit.values(f"{name}-out") == [b"a1", b"a1 b2", b"b2", b"b2 c3"]
    assert ("longer than the 1 ms" in caplog.text) is (retention_ms == 1)
