"""The verbs that visit a broker, called as a command line calls them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from flowstream.cli.app import build

VERBS = build(
    ("topics", "groups", "send", "tail", "transactions", "cluster", "configs", "acls", "quotas")
)


def call(data: Path, *arguments: str, lines: str | None = None) -> Result:
    """Run a verb."""
    return CliRunner().invoke(VERBS, [*arguments, "--data", str(data)], input=lines)


def output(data: Path, *arguments: str, lines: str | None = None) -> str:
    """What a verb prints; it must succeed."""
    result = call(data, *arguments, lines=lines)
    assert result.exit_code == 0, result.output
    return result.stdout


def objects(text: str) -> list[dict[str, object]]:
    """One JSON object per line."""
    return [json.loads(line) for line in text.splitlines()]
