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
