"""ARCHITECTURE.md stays true: every path that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATHS = re.compile(r"`((?:flowstream|tests|examples|benchmarks|docs|requirements)/[\w./-]*)`")


def test_every_path_exists() -> None:
    named = PATHS.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    gone = [path for path in named if not (ROOT / path).exists()]
    assert not gone, f"ARCHITECTURE.md names what is not there: {gone}"
