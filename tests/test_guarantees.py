"""docs/guarantees.md stays true: every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_a_promise_names_exists() -> None:
    named = TESTS.findall((ROOT / "docs/guarantees.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    gone = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists()
        or f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]
    assert not gone, f"docs/guarantees.md names tests that are not there: {gone}"


def test_every_invariant_is_on_the_page() -> None:
    """Of each kind the numbers go from 1 on without a gap."""
    text = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    told = set(
        re.findall(r"\b([LPTCGSDXV])(\d+)\b", " ".join([*rows, *re.findall(r"^T5", text, re.M)]))
    )
    for kind in "LPTCGSDXV":
        numbers = sorted(int(number) for each, number in told if each == kind)
        assert numbers == list(range(1, len(numbers) + 1)), kind
