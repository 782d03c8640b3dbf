"""Records that no decoder reads, however it fails on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import flowstream as fs


class Share(fs.Record):
    of: int

    def model_post_init(self, context: Any) -> None:
        1 / self.of


@dataclasses.dataclass
class Part:
    of: int

    def __post_init__(self) -> None:
        assert self.of > 0


ILLEGIBLE: dict[str, tuple[Any, bytes, bytes]] = {
    "lists in lists without an end": (list, b"[1]", b"[" * 5_000),
    "a model that divides": (Share, b'{"of":1}', b'{"of":0}'),
    "a dataclass that asserts": (Part, b'{"of":1}', b'{"of":0}'),
}
EACH = pytest.mark.parametrize(("kind", "good", "bad"), ILLEGIBLE.values(), ids=ILLEGIBLE)


def reading(kind: Any) -> tuple[fs.App, Any, Any]:
    """An app with a topic of such values, and the topic as bytes."""
    app = fs.App("reading")
    read = app.topic("words", key_type=bytes, value_type=kind, partitions=1)
    return app, read, app.topic("words", key_type=bytes, value_type=bytes)


@EACH
@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
def test_S11_what_does_not_decode_is_passed_over_alone_in_a_list(
    kind: Any, good: bytes, bad: bytes, policy: Any
) -> None:
    app, words, raw = reading(kind)
    seen: list[int] = []

    @app.agent(words, on_error=policy)
    async def count(stream: fs.Stream[Any]) -> None:
        async for batch in stream.take(3, within=5):
            seen.append(len(batch))

    with app.test_context() as context:
        for data in (good, bad, good):
            context.topic(raw).send(data, settle=False)
        context.advance(10)
        assert sum(seen) == 2
        assert [letter.value for letter in context.dead_letters] == [bad] * (policy != "skip")


@EACH
def test_V2_what_does_not_decode_is_not_tried_again_for_ever(
    kind: Any, good: bytes, bad: bytes
) -> None:
    app, words, raw = reading(kind)

    @app.agent(words, on_error="retry")
    async def count(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    with app.test_context() as context:
        context.topic(raw).send(good)
        with pytest.raises(fs.AgentFailed, match="offset 1 does not decode"):
            context.topic(raw).send(bad)


@EACH
def test_V2_an_outbox_gives_up_what_does_not_decode(kind: Any, good: bytes, bad: bytes) -> None:
    app, words, raw = reading(kind)

    @app.outbox(words, to=fs.SQLite("unused.db"), on_error="dead_letter")
    def store(db: Any, events: list[fs.Event[Any]]) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS effects (at INTEGER)")
        for event in events:
            db.execute("INSERT INTO effects VALUES (?)", (event.offset,))

    with app.test_context() as context:
        for data in (good, bad, good):
            context.topic(raw).send(data)
        database = context.database(app.agents["store"])
        assert database.execute("SELECT at FROM effects ORDER BY at").fetchall() == [(0,), (2,)]
        assert [letter.value for letter in context.dead_letters] == [bad]
