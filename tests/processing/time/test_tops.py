"""Event time that was reached before a crash is known after it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import flowstream as fs


def joining() -> tuple[fs.App, fs.Topic[str, str], fs.Topic[str, str], fs.Topic[str, str]]:
    """Orders without a payment are told when none can come any more. No source is ever idle."""
    app = fs.App("tops", source_idle=100_000)
    orders, pays, out = (
        app.topic(name, key_type=str, value_type=str, partitions=1)
        for name in ("orders", "pays", "out")
    )

    @app.agent(orders, sink=[out])
    async def match(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for pair in stream.join(pays, within=10, how="left"):
            yield f"{pair.left}/{pair.right}"

    return app, orders, pays, out


def test_S12_how_far_the_source_ahead_has_come_is_not_forgotten_with_its_worker() -> None:
    """The order's side has ended before the crash: nothing more of it comes to move time."""
    app, orders, pays, out = joining()
    with app.test_context() as context:
        context.topic(orders).send("shoes", key="a", timestamp=1)
        context.topic(orders).send("end", key="e", timestamp=1_000)
        context.crash()
        context.topic(pays).send("end", key="e", timestamp=1_000)
        assert sorted(context.topic(out).values) == ["end/end", "shoes/None"]


def test_S12_a_table_that_comes_from_the_changelog_knows_it_too() -> None:
    app, orders, pays, out = joining()
    with app.test_context() as context:
        context.topic(orders).send("shoes", key="a", timestamp=1)
        context.topic(orders).send("end", key="e", timestamp=1_000)
        context.lose_state()
        context.topic(pays).send("end", key="e", timestamp=1_000)
        assert sorted(context.topic(out).values) == ["end/end", "shoes/None"]
