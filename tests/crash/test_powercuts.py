"""A share of the campaign of power cuts on real files, and that it finds what is planted."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from flowstream.broker.log import retention
from flowstream.broker.log.cleaning import Filter
from tests.crash import chores
from tests.crash.power import PoweredFiles
from tests.crash.powercuts import MEMORY, run

CUTS = 12


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        yield Path(directory)


def test_L2_D4_T9_what_was_acknowledged_survives_power_cuts(root: Path) -> None:
    ledger = run(root / "data", CUTS, seed=1)
    print(f"{len(ledger.violations)} violations in {ledger.cuts} power cuts")
    assert ledger.violations == []
    assert ledger.cuts == CUTS
    assert ledger.acknowledged


def test_D4_a_disk_that_syncs_nothing_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(self: PoweredFiles, paths: Collection[str]) -> None:
        with self.supply.lock:
            self.supply.use()

    monkeypatch.setattr(PoweredFiles, "sync", lie)
    assert found(root)


def test_L7_a_cleaning_that_drops_keys_is_found(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Filter, "_records", lambda *_: [])
    assert any("L7" in each for each in found(root))


def test_L8_records_that_are_retired_early_are_found(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for the slowest machine: nothing is old.
    monkeypatch.setattr(chores, "RETENTION_MS", 3_600_000)
    monkeypatch.setitem(chores.CONFIGS[chores.SHORT], "retention.ms", "3600000")
    monkeypatch.setattr(retention, "_too_old", lambda log, now: len(log.segments) - 1)
    assert any("L8" in each for each in found(root))


def found(root: Path) -> list[str]:
    """The violations of a few runs."""
    return [each for seed in range(4) for each in run(root / str(seed), 10, seed).violations]
