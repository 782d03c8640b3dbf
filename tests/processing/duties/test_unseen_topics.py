"""Topics that a worker's user may create and not describe: there, and nobody tells of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.processing.duties.provision import provide_replies, provision
from flowstream.processing.environment.doors import DOORS
from flowstream.transport.admin import Admin
from flowstream.transport.errors import RequestRefused, TopicExists
from flowstream.transport.types import NewTopic, TopicDescription
from flowstream.wire.error_codes import ErrorCode


class Blind(Admin):
    """Makes every topic, and shows none but `seen`."""

    def __init__(self, *seen: str) -> None:
        super().__init__(cast("Any", None))
        self.seen = seen
        self.asked = 0

    async def create_topics(self, topics: Sequence[NewTopic]) -> None:
        raise TopicExists("it is there")

    async def topics(
        self, names: Iterable[str] | None = None, *, configs: bool = False
    ) -> dict[str, TopicDescription]:
        self.asked += 1
        for name in names or ():
            if name not in self.seen:
                raise RequestRefused(name, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        return {name: TopicDescription(name, b"", 1, False) for name in self.seen}


async def test_V2_replies_that_nobody_may_see_are_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    admin = Blind()
    with caplog.at_level(logging.WARNING, "flowstream.worker"):
        await provide_replies(fs.App("shop"), admin)
    assert admin.asked == 2, "it is not asked for again and again"
    (told,) = [record.getMessage() for record in caplog.records]
    assert "topic shop-replies cannot be made, or not be seen: replies are dropped" in told
    assert "TOPIC_AUTHORIZATION_FAILED" in told


async def test_V2_a_topic_that_is_made_and_may_not_be_seen_stops_the_worker(
    tmp_path: Path,
) -> None:
    app = fs.App("shop")
    app.topic("out", partitions=1)

    @app.agent(app.topic("in"))
    async def read(stream: fs.Stream[object]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(RequestRefused, match="out: TOPIC_AUTHORIZATION_FAILED: allow this user"):
        await provision(app, Blind("in"), tmp_path, DOORS)
