"""Both storages, for what they promise alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.memory import MemoryStorage


@pytest.fixture(params=["files", "memory"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[FileStorage | MemoryStorage]:
    if request.param == "memory":
        yield MemoryStorage()
        return
    files = FileStorage(tmp_path, open_files=2)
    yield files
    files.close()
