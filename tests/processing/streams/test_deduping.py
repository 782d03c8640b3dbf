"""`dedupe` where events are out of order by more than its horizon."""

from __future__ import annotations

from typing import Any

import flowstream as fs


def test_S7_an_id_passes_once_per_horizon_whatever_the_order() -> None:
    app = fs.App("deduping")
    events = app.topic("events", key_type=str, value_type=str, partitions=1, out_of_orderness=60)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(events, sink=[out])
    async def once(stream: fs.Stream[str]) -> Any:
        async for value in stream.dedupe(10, by=lambda value: value[0]):
            yield value

    with app.test_context() as context:
        for number, at in enumerate((100, 70, 70, 71, 100, 81, 89, 91, 65)):
            context.topic(events).send(f"x{number}@{at}", key="k", timestamp=float(at))
            if number == 2:
                context.crash()
        context.topic(events).send("y@200", key="k", timestamp=200.0)
        # Until the watermark is a horizon past it: then it is too old to be remembered.
        for number in (1, 2):
            context.topic(events).send(f"x late {number}", key="k", timestamp=100.0)
        values = context.topic(out).values
    assert values == ["x0@100", "x1@70", "x5@81", "y@200", "x late 1", "x late 2"]
