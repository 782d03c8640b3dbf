"""Verbs of the command line about the app of a test."""

from __future__ import annotations

import asyncio
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import flowstream as fs
from flowstream.cli.app import build

VERBS = build(("tables", "reset", "dlq", "lag", "workers", "outbox"))


class Verbs:
    """The verbs that take `-A MODULE`, with the app in a module of its own."""

    def __init__(self, app: fs.App, monkeypatch: pytest.MonkeyPatch) -> None:
        module = ModuleType(f"module_{app.id}")
        module.app = app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        self.module = module.__name__

    async def call(self, *words: str) -> Result:
        """Run a verb."""
        return await asyncio.to_thread(CliRunner().invoke, VERBS, [*words, "-A", self.module])

    async def lines(self, *words: str) -> list[dict[str, Any]]:
        """What `tables` prints: one JSON object per line, without the partition."""
        result = await self.call("tables", *words)
        assert result.exit_code == 0, (result.output, result.stderr)
        found = [json.loads(line) for line in result.stdout.splitlines()]
        return [{k: v for k, v in each.items() if k != "partition"} for each in found]
