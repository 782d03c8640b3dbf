"""Killed while writing, a store holds a prefix of whole batches; its offsets agree (S1, S3)."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from flowstream.state.rocksdb import open_store
from tests.state.crash_writer import IDENTITY, batch

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = 6


def write_until_killed(path: Path, batches: int) -> int:
    """Let a process write that many batches, kill it, and return the last number it printed."""
    command = [sys.executable, "-m", "tests.state.crash_writer", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = 0
        for _ in range(batches):
            last = int(writer.stdout.readline())
        writer.kill()
        for line in writer.stdout:
            if line.endswith("\n"):
                last = int(line)
    return last


def test_S1_kill_at_random_leaves_whole_batches(tmp_path: Path) -> None:
    rng = random.Random(20)
    kept: list[int] = []
    model: dict[bytes, bytes] = {}
    applied = 0
    for _ in range(KILLS):
        written = write_until_killed(tmp_path, rng.randrange(1, 4_000))
        store = open_store(tmp_path, IDENTITY)
        offset = store.changelog_offset or 0
        # The last batch may be there though its number was not printed.
        assert applied <= offset <= written + 1, (kept, applied, offset, written)
        for number in range(applied + 1, offset + 1):
            for key, value in batch(number).items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
        assert dict(store.scan()) == model, (kept, offset)
        assert store.source_offset == (2 * offset if offset else None)
        store.close()
        applied = offset
        kept.append(offset)
    assert applied > 0, "some flush came before a kill, else this proves nothing"
    print(f"0 violations in {KILLS} kills, batches kept: {kept}")
