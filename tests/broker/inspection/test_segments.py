"""A segment of many small batches is looked at in the memory that its index files need."""

from __future__ import annotations

import tracemalloc

from flowstream.broker.doors import Append, MakeDirectory
from flowstream.broker.inspection.segments import LONG_MAX, Course, Rules, SegmentExam
from flowstream.broker.log.index import OffsetIndex, TimeIndex
from flowstream.broker.log.names import INDEX, LOG, TIMEINDEX, file_path
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.wire.batch import encode_batch

BATCHES = 10_000
SPARSE = 46
"""Batches between two index entries."""


def test_X3_an_examination_remembers_what_the_indexes_speak_of_and_no_more() -> None:
    """It kept 290 bytes of each batch: of a gigabyte of single records, 3.5 GB."""
    one = bytes(encode_batch([(1, b"k", b"v", ())]))
    log = b"".join(number.to_bytes(8) + one[8:] for number in range(BATCHES))
    index = [OffsetIndex.ENTRY.pack(at, at * len(one)) for at in range(SPARSE, BATCHES, SPARSE)]
    storage = MemoryStorage()
    contents = {LOG: log, INDEX: b"".join(index), TIMEINDEX: TimeIndex.ENTRY.pack(1, 0)}
    storage.perform([MakeDirectory("t-0")])
    storage.perform([Append(file_path("t-0", 0, name), [data]) for name, data in contents.items()])
    rules = Rules(topic="t", synced=LONG_MAX, journalled={}, gaps=False, internal=False, deep=False)
    course = Course(expected=0)
    exam = SegmentExam(storage, "t-0", 0, rules, course, trusted=True)
    tracemalloc.start()
    try:
        assert list(exam.findings()) == []
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert course.expected == BATCHES
    assert most < 50 * BATCHES
