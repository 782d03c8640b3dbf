"""A query while its owner is killed: answered by whoever comes after, with nothing lost (S8)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.processing.conftest import ROOT, Kit
from tests.web.conftest import visited
from tests.web.counting import ALL, Words, settled

MODULE = """
import flowstream as fs

app = fs.App({name!r}, session_timeout=6.0, commit_interval=0.02)
topic = app.topic({name!r} + "-in", key_type=str, value_type=str, partitions=4)
counts = app.Table("counts", key_type=str, default=int)


@app.agent(topic)
async def count(stream):
    async for word in stream:
        counts[word] += 1
"""


async def test_S8_a_query_outlives_the_kill_of_its_owner(
    kit: Kit, name: str, tmp_path: Path
) -> None:
    words = Words(kit, name, session_timeout=6.0)
    await kit.create(words.app)
    (tmp_path / "victim.py").write_text(MODULE.format(name=name), encoding="utf-8")
    command = [sys.executable, "-m", "flowstream", "worker", "-A", "victim", "--web-port", "0"]
    command += ["--broker", f"kafka://{kit.address}", "--data", str(tmp_path / "victim")]
    async with visited(kit, words.app):
        victim = await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await settled(kit, words.app, 4, 2)
            query = words.app.query("counts")
            sent = await words.send(*ALL)
            assert [await query.get(w, after=sent, timeout=20) for w in ALL] == [1] * 12
        finally:
            victim.kill()
            await victim.wait()
        sent = await words.send(*ALL)
        # Answers wait for the survivor, which reads from the changelog what the victim committed.
        assert [await query.get(w, after=sent, timeout=30) for w in ALL] == [2] * 12
