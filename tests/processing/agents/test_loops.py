"""What is sent outside of agents, from one event loop after another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit

SCRIPT = """
import asyncio, sys
import flowstream as fs

app = fs.App(sys.argv[1], broker=sys.argv[2])
words = app.topic(sys.argv[1] + "-in", key_type=str, value_type=str, partitions=1)

@app.agent(words, name="shout")
async def shout(stream):
    async for word in stream:
        yield word.upper()

async def once(word):
    await words.send(value=word)
    return await shout.ask(word, timeout=30)

print(asyncio.run(once("a")), asyncio.run(once("b")), end=" ")
asyncio.run(app.close())
print(asyncio.run(once("c")))
"""


async def test_V1_a_script_sends_and_asks_in_one_event_loop_after_another(
    kit: Kit, name: str, tmp_path: Path
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)

    @app.agent(words)
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    await kit.create(app)
    async with kit.running(app):
        told = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT, name, f"kafka://{kit.address}"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert told.stdout.split() == ["A", "B", "C"], told.stderr


async def test_an_app_that_sends_from_two_event_loops_at_a_time_is_told(
    kit: Kit, name: str
) -> None:
    topic = kit.app(name).topic(f"{name}-in", value_type=str, partitions=1)
    await topic.declare()
    await topic.send(value="a")
    with pytest.raises(AppError, match="sends from two event loops at a time"):
        await asyncio.to_thread(lambda: asyncio.run(topic.send(value="b")))
    await topic.send(value="c")


async def test_an_app_that_is_closed_sends_from_another_event_loop(kit: Kit, name: str) -> None:
    """The loop that it sent from goes on, and has nothing of it any more."""
    app = kit.app(name)
    topic = app.topic(f"{name}-in", value_type=str, partitions=1)
    await topic.declare()
    await app.close()

    async def send() -> None:
        await topic.send(value="a")
        await app.close()

    await asyncio.to_thread(asyncio.run, send())
    await topic.send(value="b")
    assert await kit.values(topic.name) == [b"a", b"b"]
