"""`python -m benchmarks.group_commit [--directory DIR]`: milliseconds of a group commit that
appends 200 bytes to each of 1, 4, 16 and 50 files: each file synced, or one journal.

The directory must be on a real disk. Contenders take turns commit by commit, medians are quoted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from flowstream.broker.doors import Append, MakeDirectory, Operation, Storage
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.journaled import JournaledStorage

FILES = (1, 4, 16, 50)
RECORD = os.urandom(200)


def contenders(root: Path, undo: ExitStack) -> dict[str, Storage]:
    """The same disk with and without a journal."""
    found: dict[str, Storage] = {}
    for name, fewest in (("files", 0), ("journal", 1)):
        directory = root / name
        directory.mkdir()
        files, own = FileStorage(directory), FileStorage(directory)
        undo.callback(files.close)
        undo.callback(own.close)
        journaled = JournaledStorage(files, own, os.urandom(8), fewest_files=fewest)
        found[name] = journaled if fewest else files
    return found


def commit(storage: Storage, count: int) -> float:
    """Milliseconds from the first write to the end of the sync."""
    operations: list[Operation] = [Append(f"t-{at}/log", (RECORD,)) for at in range(count)]
    started = time.perf_counter()
    storage.sync(storage.perform(operations))
    return (time.perf_counter() - started) * 1000


def measure(storages: dict[str, Storage], count: int, commits: int) -> dict[str, list[float]]:
    """Milliseconds of each commit, contender by contender."""
    for storage in storages.values():
        storage.perform([MakeDirectory(f"t-{at}") for at in range(count)])
        for _ in range(20):
            commit(storage, count)
    samples: dict[str, list[float]] = {name: [] for name in storages}
    for _ in range(commits):
        for name, storage in storages.items():
            samples[name].append(commit(storage, count))
    return samples


def main() -> None:
    """Print one line for each number of files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.group_commit", description=__doc__)
    parser.add_argument("--directory", default=".", help="on a real disk (default: here)")
    parser.add_argument("--commits", type=int, default=400, help="each (default 400)")
    arguments = parser.parse_args()
    shown: Callable[[list[float]], str] = lambda values: (  # noqa: E731
        f"p50 {statistics.median(values):.2f} p99 {sorted(values)[len(values) * 99 // 100]:.2f} ms"
    )
    with tempfile.TemporaryDirectory(dir=arguments.directory) as root, ExitStack() as undo:
        storages = contenders(Path(root), undo)
        for count in FILES:
            samples = measure(storages, count, arguments.commits)
            print(f"{count:3} files:", *(f"{n} {shown(v)};" for n, v in samples.items()))


if __name__ == "__main__":
    main()
