"""A table's changelog: its name, its topic's settings, and the fold from records to rows.

A record's key and value are the row's; a null value deletes. Only the last record of a key
counts, which is what compaction keeps (L7). Knows no topic client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from flowstream.state.store import StoreError

DELETE_RETENTION_MS = 24 * 60 * 60 * 1000
"""Kafka's default: how long tombstones stay. A store that missed more than that is rebuilt."""


class ChangelogRecord(Protocol):
    """What a restore needs of a record."""

    @property
    def key(self) -> bytes | None:
        """The row's key."""

    @property
    def value(self) -> bytes | None:
        """The row, or None where it was deleted."""


def changelog_topic(app: str, table: str) -> str:
    """The name of a table's changelog."""
    return f"{app}-{table}-changelog"


def changelog_configs(overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings of a changelog topic: compacted, nothing else."""
    return {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(DELETE_RETENTION_MS),
        **(overrides or {}),
    }


def fold(
    records: Iterable[ChangelogRecord], rows: dict[bytes, bytes | None] | None = None
) -> dict[bytes, bytes | None]:
    """The last value of each key, on top of `rows`."""
    folded = {} if rows is None else rows
    for record in records:
        key = record.key
        if key is None:
            raise StoreError("a changelog record without a key: the topic is not a changelog")
        folded[key] = record.value
    return folded
