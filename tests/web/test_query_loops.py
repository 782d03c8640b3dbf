"""A script that reads a table from one event loop after another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.processing.conftest import Kit
from tests.web.conftest import visited
from tests.web.counting import Words, settled

SCRIPT = """
import asyncio, sys
import flowstream as fs

app = fs.App(sys.argv[1], broker=sys.argv[2])
counts = app.Table("counts", key_type=str, default=int)

async def once():
    return await app.query(counts).get("w", timeout=30)

print(asyncio.run(once()), asyncio.run(once()), asyncio.run(once()), end=" ")
asyncio.run(app.close())
print(asyncio.run(once()))
"""


async def test_V1_a_script_asks_from_one_event_loop_after_another(
    kit: Kit, name: str, tmp_path: Path
) -> None:
    # The connection to the owner, which is kept, was of the loop before.
    words = Words(kit, name)
    await kit.create(words.app)
    async with visited(kit, words.app):
        await settled(kit, words.app, 4, 1)
        sent = await words.send("w")
        assert await words.app.query(words.counts).get("w", after=sent) == 1
        told = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT, name, f"kafka://{kit.address}"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert told.stdout.split() == ["1", "1", "1", "1"], told.stderr
