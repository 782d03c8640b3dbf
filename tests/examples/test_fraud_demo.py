"""The demo in small: real processes, a SIGKILL each for a worker and the broker, and its audit."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

from examples.fraud_detection.lines import SAMPLE, lines_of, payments_of

ROOT = Path(__file__).resolve().parents[2]
LINES = 2_000


def test_S7_S9_the_demo_survives_its_kills_and_passes_its_audit(tmp_path: Path) -> None:
    lines = [*lines_of(SAMPLE)[: LINES - 3], "", "no payment", "T1,2,3"]
    n = sum(1 for _ in payments_of(lines))
    source = tmp_path / "small.csv.gz"
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    command = [sys.executable, "-m", "examples.fraud_detection.demo", "--kills", "2", "--seed", "4"]
    command += ["--input", str(source), "--rate", "500", "--data", str(tmp_path / "data")]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == (
        f"audit: in={n} scored={n} dead={LINES - n} missing=0 duplicate=0 table={n}"
    )
    assert run.stdout.count("SIGKILL") >= 2
