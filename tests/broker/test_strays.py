"""What lies in a data directory and is nobody's."""

from __future__ import annotations

import random
from pathlib import Path

from flowstream.broker.config import BrokerConfig
from flowstream.broker.inspection.directory import DirectoryExam
from flowstream.broker.opening import open_cores
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.types import Instant
from tests.broker.machine import TIME

NOW = Instant(TIME)
NOTES = ("backup-1", "old-delete", "older-stray", "t-0.bak", "notes.txt")


def started(directory: Path) -> list[str]:
    """What a start on this directory reports."""
    storage = FileStorage(directory)
    opened = open_cores(
        storage,
        lambda operations: storage.sync(storage.perform(operations)),
        BrokerConfig(),
        random.Random(1),
        NOW,
        host="127.0.0.1",
    )
    storage.close()
    return opened.report


def test_D7_plain_files_stop_nothing_and_stay(tmp_path: Path) -> None:
    """Somebody's notes and copies, whatever they are called; Apache Kafka leaves them, too."""
    started(tmp_path)
    for name in NOTES:
        (tmp_path / name).write_text("mine")
    (tmp_path / "lost-3").mkdir()
    (tmp_path / "lost-3" / "kept").write_text("records")
    report = started(tmp_path)
    assert "lost-3 belongs to no topic: kept aside as lost-3-stray" in report
    assert [(tmp_path / name).read_text() for name in NOTES] == ["mine"] * len(NOTES)
    storage = FileStorage(tmp_path)
    found = DirectoryExam(storage, BrokerConfig(), NOW, deep=True).findings()
    told = {finding.path: finding.what for finding in found}
    storage.close()
    assert "lost-3-stray" in told
    assert not set(NOTES) & told.keys()
