"""Keys that `group_by` makes."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs


@pytest.mark.parametrize(
    ("key_type", "key", "told"),
    [
        (str, 5, "expected str, got int: 5; convert it, or declare key_type=int"),
        (int, "5", "expected int, got str: '5'"),
    ],
)
def test_S11_a_key_of_another_type_than_declared_is_told_by_its_types(
    key_type: type, key: Any, told: str
) -> None:
    app = fs.App("regrouping")
    numbers = app.topic("numbers", value_type=int, partitions=1)

    @app.agent(numbers)
    async def group(stream: fs.Stream[int]) -> None:
        async for _ in stream.group_by(lambda _: key, key_type=key_type):
            pass

    with app.test_context() as context:
        with pytest.raises(fs.AgentFailed) as caught:
            context.topic(numbers).send(1)
        assert f"the key that group_by makes: {told}" in str(caught.value)


@pytest.mark.parametrize("source", ["changes", "closed", "timers"])
@pytest.mark.parametrize(
    "operator",
    [
        lambda stream, _: stream.group_by(str, key_type=str),
        lambda stream, _: stream.dedupe(10),
        lambda stream, _: stream.tumbling(10).count(),
        lambda stream, topic: stream.join(topic, within=5),
    ],
    ids=["group_by", "dedupe", "windows", "join"],
)
def test_what_re_keys_or_goes_by_order_is_refused_where_no_topic_is_before_it(
    source: str, operator: Any
) -> None:
    app = fs.App("regrouping")
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
    found: Any = {
        "changes": lambda: app.table(numbers).changes,
        "closed": lambda: app.Table("t", default=int).tumbling(10, grace=0).closed,
        "timers": lambda: app.Timers("due", key_type=str, value_type=int),
    }

    @app.agent(numbers)
    async def read(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.agent(found[source]())
    async def shape(stream: fs.Stream[Any]) -> None:
        async for _ in operator(stream, numbers):
            pass

    with (
        pytest.raises(fs.AppError, match="'shape' re-keys, joins, dedupes or has windows over"),
        app.test_context(),
    ):
        raise AssertionError("it was not refused")
