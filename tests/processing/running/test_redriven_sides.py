"""Dead letters of an agent that joins a topic with itself: each is for the side that failed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.events.redriven import address
from flowstream.testing import Input, assert_exactly_once
from flowstream.testing.lives import STEPS
from tests.processing.running.test_redriven import put


def with_itself() -> tuple[fs.App, fs.Topic[str, str], set[str]]:
    """An app that joins a topic with itself, and the pairs that it fails on."""
    app = fs.App("itself")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    bad: set[str] = set()

    @app.agent(words, sink=[out], on_error="dead_letter")
    async def pairs(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for left, right in stream.join(words, within=1_000, grace=1_000):
            if f"{left}-{right}" in bad:
                raise ValueError(f"{left}-{right}")
            yield f"{left}-{right}"

    return app, words, bad


@pytest.mark.parametrize("seed", range(6))
def test_S9_of_a_join_of_a_topic_with_itself_the_side_has_it_that_had_failed(seed: int) -> None:
    rng = random.Random(seed)
    app, topic, bad = with_itself()
    words = [f"{number}" for number in range(8)]
    every = [f"{left}-{right}" for left in words for right in words]
    bad.update({"1-0", "0-2"}, rng.sample(every[24:], 10))
    with app.test_context() as context:
        for at, word in enumerate(words):
            context.topic(topic).send(word, key="k", timestamp=100.0 + at)
        letters = [dict(each.headers) for each in context.topic(app.dead_letters)]
        assert {each["flowstream.side"] for each in letters} == {b"left", b"right"}
        bad.clear()
        while context.dead_letters.redrive():
            if rng.random() < 0.5:
                context.crash_at(rng.choice(STEPS), times=rng.randint(1, 3))
            context.advance(60)
        assert Counter(context.topic("out").values) == Counter(every)


def test_S9_a_side_that_is_re_keyed_before_the_join_is_the_left_one() -> None:
    app = fs.App("rekeyed")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def pairs(stream: fs.Stream[str]) -> AsyncIterator[str]:
        keyed = stream.group_by(lambda word: word[0], name="first", key_type=str)
        async for left, right in keyed.join(words, within=1_000, grace=1_000):
            yield f"{left}-{right}"

    inputs: list[Input | float] = [
        Input(words, f"k{number}", key="k", timestamp=float(number), headers=headers)
        for number, headers in enumerate(
            ([], [address("rekeyed", "pairs", "words", "left")],
             [address("rekeyed", "pairs", "words", "right")])
        )
    ]  # fmt: skip
    with app.test_context() as context:
        put(context, [*inputs, 5.0])
        made = [f"k{left}-k{right}" for left in (0, 1) for right in (0, 2)]
        assert Counter(context.topic(out).values) == Counter(made)


def test_S9_killed_everywhere_each_side_has_its_own_once() -> None:
    app, words, _ = with_itself()
    sides = ["", "left", "", "right", "right", "left", "both"]
    inputs: list[Input | float] = [
        Input(words, word, key="k", timestamp=float(word), headers=of)
        for word, of in (
            (f"{number}", [address("itself", "pairs", "words", side)] if side else [])
            for number, side in enumerate(sides)
        )
    ]
    assert_exactly_once(app, [*inputs, 5.0], compare=("key", "value"))
    lefts, rights = "0125", "0234"
    with app.test_context() as context:
        put(context, [*inputs, 5.0])
        made = [f"{left}-{right}" for left in lefts for right in rights]
        assert Counter(context.topic("out").values) == Counter(made)
        (lost,) = context.dead_letters
        assert (lost.value, lost.error) == (b"6", "AgentUnknown")
        assert "the both side of agent 'pairs'" in lost.cause


def test_S9_a_letter_that_says_no_side_is_for_the_only_one_of_its_agent() -> None:
    app, words, _ = with_itself()
    alone = app.topic("alone", key_type=str, value_type=str, partitions=1)

    @app.agent(alone, sink=[app.topics["out"]])
    async def one(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for left, right in stream.join(words, within=1_000, grace=1_000):
            yield f"one {left}-{right}"

    @app.agent(alone, sink=[app.topics["out"]])
    async def no_more(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    with app.test_context() as context:
        context.topic(alone).send("a", key="k", timestamp=1.0)
        old = [address("itself", "one", "words")]
        context.topic(words).send("b", key="k", timestamp=1.0, headers=old)
        assert context.topic("out").values == ["a", "one a-b"]
        old = [address("itself", "pairs", "words")]
        context.topic(words).send("c", key="k", timestamp=1.0, headers=old)
        assert context.topic("out").values == ["a", "one a-b"]
        (lost,) = context.dead_letters
        assert (lost.value, lost.agent) == (b"c", "pairs")
        assert "reads 'words' as both sides of a join" in lost.cause
        # An agent that joins no more is what was its left side.
        left = [address("itself", "no_more", "alone", "left")]
        context.topic(alone).send("d", key="k", timestamp=1.0, headers=left)
        assert context.topic("out").values == ["a", "one a-b", "d"]
