"""A unit whose sends cannot be written leaves no trace, whatever of it could."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs

BAD: dict[str, dict[str, Any]] = {
    "a header that is a text": {"headers": {"by": "me"}},
    "a header that is an array": {"headers": {"by": bytearray(b"me")}},
    "a header without a name": {"headers": ((b"by", b"me"),)},
    "a timestamp beyond all time": {"timestamp": 1.7e18},
    "a timestamp that is no number": {"timestamp": float("nan")},
}
KINDS = ("alone", "beside another", "in lanes")


def counting(kind: str, **bad: Any) -> tuple[fs.App, Any, Any, Any]:
    """An app whose agent counts an event, sends twice for it, the second time as `bad` says."""
    app = fs.App("traces")
    events = app.topic("events", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)
    lanes = 2 if kind == "in lanes" else 1

    @app.agent(events, on_error="dead_letter", concurrency=lanes)
    async def count(stream: fs.Stream[str]) -> None:
        async for event in stream:
            counts["all"] += 1
            await out.send(key="a", value=f"{event} 1")
            await out.send(key="a", value=f"{event} 2", **(bad if event == "bad" else {}))

    if kind == "beside another":

        @app.agent(events)
        async def look(stream: fs.Stream[str]) -> None:
            async for _ in stream:
                pass

    return app, events, out, counts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_S9_a_send_that_cannot_be_written_takes_all_of_its_unit_along(
    bad: dict[str, Any], kind: str
) -> None:
    app, events, out, counts = counting(kind, **bad)
    with app.test_context() as context:
        for word in ("one", "bad", "two"):
            context.topic(events).send(word)
        assert context.topic(out).values == ["one 1", "one 2", "two 1", "two 2"]
        assert context.table(counts)["all"] == 2
        assert [letter.value for letter in context.dead_letters] == [b"bad"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adds", [False, True])
def test_S9_a_handler_of_what_is_produced_that_fails_takes_all_of_the_unit_along(
    kind: str, adds: bool
) -> None:
    app, events, out, counts = counting(kind)

    @app.on_produce_message.connect
    def stamp(app: fs.App, topic: str, value: bytes, headers: list[Any], **rest: Any) -> None:
        if (topic, value) == ("out", b"bad 2"):
            if not adds:
                raise RuntimeError("no stamps left")
            headers.append(("by", "me"))

    with app.test_context() as context:
        for word in ("one", "bad", "two"):
            context.topic(events).send(word)
        assert context.topic(out).values == ["one 1", "one 2", "two 1", "two 2"]
        assert context.table(counts)["all"] == 2
        assert [letter.value for letter in context.dead_letters] == [b"bad"]
