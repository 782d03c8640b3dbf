"""The input as lines of CSV: where it is, the key of a line, and the payments in it.

Lines are not judged here: a malformed one is the pipeline's business.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

from .models import COLUMNS, Transaction

SAMPLE = Path(__file__).with_name("card_transactions_sample.csv.gz")


def lines_of(path: Path) -> list[str]:
    """The lines of a CSV file, gzipped or not, without its header."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    lines = text.decode("utf-8").splitlines()
    return lines[1:] if lines and lines[0].startswith(COLUMNS[0]) else lines


def card_of(line: str) -> str | None:
    """The key of a line: its card, or None when the line is too broken to have one."""
    try:
        (cells,) = csv.reader([line])
    except (csv.Error, ValueError):
        return None
    return cells[2] if len(cells) > 2 and cells[2] else None


def payments_of(lines: Iterable[str]) -> Iterator[Transaction]:
    """The well-formed payments of `lines`."""
    for line in lines:
        try:
            yield Transaction.of_line(line)
        except ValueError:
            continue


def time_of(line: str, before: int) -> int:
    """The event time of a line in seconds; one too broken to have any keeps the time `before`."""
    cells = line.split(",", 2)
    return int(cells[1]) if len(cells) == 3 and cells[1].isdigit() else before
