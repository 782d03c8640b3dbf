"""The key of a yielded value: the event's, as the topic has keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

import flowstream as fs

KINDS: dict[str, dict[str, Any]] = {
    "same": {"key_type": str},
    "undeclared": {},
    "json": {"key_type": str, "key_serializer": "json"},
    "zipped": {"key_type": str, "key_serializer": "json|gzip"},
    "any": {"key_serializer": "json"},
}


@pytest.mark.parametrize("by", ["topic", "branch", "agent"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_yielded_value_keeps_its_key_whatever_the_topic_makes_of_keys(kind: str, by: str) -> None:
    app = fs.App("shop", topic_partitions=4)
    words = app.topic("words", key_type=str, value_type=str)
    told = app.topic("told", value_type=str, **KINDS[kind])
    seen: list[Any] = []

    @app.agent(told)
    async def tell(stream: fs.Stream[str]) -> None:
        async for key, word in stream.items():
            seen.append((key, word))

    sinks = {"topic": told, "branch": fs.branch((lambda word: True, told)), "agent": tell}

    @app.agent(words, sink=[sinks[by]])
    async def loud(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    with app.test_context() as context:
        context.topic(words).send("a", key="k")
        context.topic(words).send("b", key=None)
        # Where who sends with this key himself sends to.
        context.topic(told).send("C", key="k")
        records = {record.value: record for record in context.topic(told)}
        assert records["A"].key == (b"k" if kind == "undeclared" else "k")
        assert records["B"].key is None
        assert (records["C"].key, records["C"].partition) == (
            records["A"].key, records["A"].partition,
        )  # fmt: skip
    assert sorted(word for _, word in seen) == ["A", "B", "C"]


@pytest.mark.parametrize(("given", "kept"), [(str, int), (int, str), (float, int), (bool, str)])
async def test_keys_that_can_never_be_the_topics_are_refused(given: type, kept: type) -> None:
    app = fs.App("shop")
    told = app.topic("told", key_type=kept)

    @app.agent(app.topic("words", key_type=given), sink=[told])
    async def loud(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
        async for word in stream:
            yield word

    said = f"agent 'loud' has keys of type {given.__name__}, .* 'told' with keys of type"
    with pytest.raises(fs.AppError, match=f"{said} {kept.__name__}: declare the same key_type="):
        await loud.probe()


async def test_the_keys_are_those_of_what_the_body_reads() -> None:
    app = fs.App("shop")

    @app.agent(app.topic("words", key_type=str), sink=[app.topic("told", key_type=int)])
    async def loud(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
        async for word in stream.group_by(len, key_type=int):
            yield word

    await loud.probe()


def test_none_is_refused_where_the_key_is_encoded_anew_too() -> None:
    app = fs.App("shop", topic_partitions=1)
    words = app.topic("words", key_type=str, value_type=str)
    told = app.topic("told", key_type=str, value_type=str, key_serializer="json")

    @app.agent(words, sink=[told, fs.branch(default=told)], on_error="dead_letter")
    async def gone(stream: fs.Stream[str]) -> AsyncIterator[str | None]:
        async for _ in stream:
            yield None

    with app.test_context() as context:
        context.topic(words).send("a", key="k")
        assert len(context.topic(told)) == 0
        (letter,) = context.dead_letters
        assert "yielded None to topic 'told'" in letter.cause


def test_each_of_several_topics_has_its_own_keys() -> None:
    app = fs.App("shop")
    numbered = app.topic("numbered", key_type=int, value_type=str, partitions=1)
    named = app.topic("named", key_type=str, value_type=str, partitions=1)
    told = app.topic("told", key_serializer="json", value_type=str, partitions=1)
    seen: list[Any] = []

    @app.agent(numbered, named, sink=[told])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, word in stream.items():
            seen.append(key)
            yield word

    with app.test_context() as context:
        context.topic(numbered).send("a", key=7)
        context.topic(named).send("b", key="7")
        assert [record.key for record in context.topic(told)] == [7, "7"]
    assert seen == [7, "7"]


async def test_what_is_kept_by_key_has_one_kind_of_keys() -> None:
    app = fs.App("shop")
    numbered = app.topic("numbered", key_type=int, value_type=str)
    named = app.topic("named", key_type=str, value_type=str)

    @app.agent(numbered, named)
    async def once(stream: fs.Stream[str]) -> None:
        async for _ in stream.dedupe(within=60):
            pass

    with pytest.raises(fs.AppError, match="keys of types int and str, and what it keeps is by key"):
        await once.probe()

    @app.agent(numbered, named, sink=[app.topic("told", key_type=int)])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    with pytest.raises(fs.AppError, match="keys of type str, which its yielded values keep"):
        await tell.probe()


@pytest.mark.parametrize("kind", [int | None, Annotated[int | None, 1], Any, object])
def test_none_is_a_value_where_the_type_says_so(kind: Any) -> None:
    app = fs.App("shop")
    words = app.topic("words", value_type=str, partitions=1)
    told = app.topic("told", value_type=kind, partitions=1)

    @app.agent(words, sink=[told])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[None]:
        async for _ in stream:
            yield None

    with app.test_context() as context:
        context.topic(words).send("a")
        assert context.topic(told).values == [None]
