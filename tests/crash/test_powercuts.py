"""A share of the campaign of power cuts on real files, and that it finds what is planted."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

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
    found = [run(root / str(seed), 8, seed).violations for seed in range(3)]
    assert any(found)
