"""What opening a directory repairs, and what it refuses to touch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstream.broker.doors import Append, Remove, Replace, Truncate
from flowstream.broker.log import names
from flowstream.broker.log.checkpoints import CorruptCheckpoint
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.swapping import finish_swaps
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.errors import CorruptLog
from flowstream.wire.batch import read_header
from tests.broker.log.stories import (
    NAME,
    NOW,
    TOPIC_ID,
    appended,
    batch_of,
    end,
    new_log,
    reopen,
)

SMALL = LogConfig(segment_bytes=1000, index_interval_bytes=200, retention_ms=-1)


def filled(batches: int = 20, config: LogConfig = SMALL) -> tuple[MemoryStorage, PartitionLog]:
    """A log of one-record batches in several segments."""
    storage, log = new_log(config)
    for at in range(batches):
        appended(log, batch_of(value=b"%0100d" % at, producer=(1, 0, at)))
    assert len(log.segments) > 2 or batches < 10
    return storage, log


def values(log: PartitionLog) -> list[bytes]:
    return [bytes(batch)[16:] for batch in log.scan()]


def test_a_torn_tail_is_cut_and_reported() -> None:
    storage, log = filled()
    before = values(log)
    storage.perform([Append(log.active.path, (bytes(batch_of())[:40],))])
    opened = reopen(log, clean=False)
    assert values(opened.log) == before
    assert len(opened.report) == 1
    assert "cut 40 bytes" in opened.report[0]
    again = reopen(opened.log, clean=False)
    assert (again.report, values(again.log)) == ([], before)


@pytest.mark.parametrize("recovery_point", [0, 10, 19])
def test_D3_bad_bytes_above_the_recovery_point_cut_the_log_there(recovery_point: int) -> None:
    storage, log = filled()
    before = values(log)
    storage.flip(log.active.path, log.active.size - 1)
    opened = reopen(log, clean=False, recovery_point=recovery_point)
    assert values(opened.log) == before[:19]
    assert opened.log.log_end == 19


def test_D3_bad_bytes_below_the_recovery_point_are_refused_with_file_and_offset() -> None:
    storage, log = filled()
    active = log.active
    storage.flip(active.path, 70)
    with pytest.raises(CorruptLog) as caught:
        reopen(log, clean=False, recovery_point=20)
    assert active.path in str(caught.value)
    assert f"offset {active.base_offset}" in str(caught.value)


def test_D3_a_log_that_ends_before_its_recovery_point_is_refused() -> None:
    storage, log = filled()
    storage.perform([Truncate(log.active.path, 0)])
    with pytest.raises(CorruptLog, match="20"):
        reopen(log, clean=False, recovery_point=20)


def test_every_flipped_byte_of_the_active_segment_is_noticed_or_harmless() -> None:
    """D6: the CRC covers neither the offset, which must continue the log, nor the leader epoch."""
    _, log = filled(4, LogConfig())
    before = values(log)
    for position in range(log.active.size):
        storage, log = filled(4, LogConfig())
        storage.flip(log.active.path, position)
        log = reopen(log, clean=False).log
        found = values(log)
        assert found == before[: len(found)]
        assert [header.base_offset for header in map(read_header, log.scan())] == [0, 1, 2, 3][
            : len(found)
        ]


@pytest.mark.parametrize("suffix", [names.INDEX, names.TIMEINDEX])
@pytest.mark.parametrize("damage", ["missing", "odd", "beyond"])
def test_indexes_that_do_not_fit_are_rebuilt(suffix: str, damage: str) -> None:
    storage, log = filled()
    storage.sync(storage.perform(log.close_clean(NOW)))
    path = log.segments[1].file(suffix)
    good = bytes(storage.read(path, 0, 1 << 20))
    harm = {
        "missing": [Remove(path)],
        "odd": [Append(path, (b"xyz",))],
        "beyond": [Append(path, (bytes(24),))],
    }
    storage.perform(harm[damage])
    opened = open_log(
        storage, NAME, TOPIC_ID, SMALL, NOW, clean=True, recovery_point=20, log_start=0
    )
    storage.perform(opened.operations)
    assert bytes(storage.read(path, 0, 1 << 20)) == good
    assert opened.log.log_end == 20


def test_leftovers_of_deleted_and_unfinished_segments_go() -> None:
    storage, log = filled()
    directory = log.directory
    leftovers = [
        "00000000000000000000.log.deleted",
        "00000000000000000000.index.cleaned",
        "00000000000000000999.index",
        "00000000000000000999.timeindex",
        "00000000000000000998.snapshot",
    ]
    storage.perform([Replace(f"{directory}/{name}", b"left") for name in leftovers])
    opened = reopen(log, clean=False)
    assert not set(leftovers) & set(storage.names(directory))
    assert opened.log.log_end == 20


def test_an_interrupted_exchange_of_segments_is_finished() -> None:
    """The `.swap` file holds what compaction left of the first two segments."""
    storage, log = filled(config=replace(SMALL, compact=True))
    directory = log.directory
    end = log.segments[2].base_offset
    kept = [bytes(b) for b in log.scan() if read_header(b).base_offset in (3, end - 1)]
    path = names.file_path(directory, 0, names.LOG)
    storage.perform([Replace(path + names.SWAP, b"".join(kept))])
    with pytest.raises(CorruptLog, match="exchange"):
        reopen(log, clean=False)
    storage.perform(finish_swaps(storage, directory))
    assert finish_swaps(storage, directory) == []
    opened = reopen(log, clean=False)
    assert [read_header(b).base_offset for b in opened.log.scan()] == [3, *range(end - 1, 20)]
    assert opened.log.read(0, 1).next_offset == 4


def test_an_unfinished_exchange_is_undone() -> None:
    storage, log = filled()
    path = names.file_path(log.directory, 0, names.LOG)
    storage.perform([Replace(path + names.SWAP, b"x"), Replace(path + names.CLEANED, b"x")])
    storage.perform(finish_swaps(storage, log.directory))
    opened = reopen(log, clean=False)
    assert opened.log.log_end == 20
    assert len(values(opened.log)) == 20


def test_the_directory_of_another_topic_is_refused() -> None:
    storage, log = filled()
    with pytest.raises(CorruptLog, match="belongs to topic"):
        open_log(storage, NAME, bytes(16), SMALL, NOW, clean=False, recovery_point=0, log_start=0)
    path = f"{log.directory}/{names.LEADER_EPOCHS}"
    storage.perform([Replace(path, b"0\n5\n0 0\n")])
    with pytest.raises(CorruptCheckpoint, match=path):
        reopen(log, clean=False)


def test_a_torn_snapshot_is_passed_over_for_the_log() -> None:
    storage, log = filled()
    storage.sync(storage.perform(log.close_clean(NOW)))
    for name in storage.names(log.directory):
        if name.endswith(names.SNAPSHOT):
            storage.flip(f"{log.directory}/{name}", 9)
    opened = open_log(
        storage, NAME, TOPIC_ID, SMALL, NOW, clean=True, recovery_point=20, log_start=0
    )
    storage.perform(opened.operations)
    (producer,) = opened.log.producers
    assert [batch[0] for batch in producer.batches] == [15, 16, 17, 18, 19]
    assert all("snapshot" in line for line in opened.report)
    assert [n for n in storage.names(log.directory) if n.endswith(names.SNAPSHOT)] == []


def test_records_deleted_beyond_an_unsynced_end_start_the_log_anew() -> None:
    _, log = filled()
    opened = reopen(log, clean=False, log_start=50)
    assert (opened.log.log_start, opened.log.log_end) == (50, 50)
    appended(opened.log, batch_of())
    assert reopen(opened.log, clean=False, log_start=50).log.log_end == 51


def test_a_clean_restart_reads_no_batch_but_the_last_ones_and_checks_what_it_serves() -> None:
    storage, log = filled()
    log = reopen(log, clean=True).log
    first = log.segments[0]
    assert log.read(0, 200).error == 0
    storage.flip(first.path, first.size - 1)
    assert log.read(0, 200).error == 0
    assert log.read(first.base_offset, 1 << 20).error != 0
    with pytest.raises(CorruptLog, match="bad CRC"):
        values(log)


def test_a_clean_stop_of_an_untouched_log_writes_nothing() -> None:
    _, log = filled()
    log = reopen(log, clean=True).log
    assert log.close_clean(NOW) == []


def test_T8_an_aborted_index_that_was_never_synced_is_rebuilt() -> None:
    """A segment that ends exactly at the recovery point was once trusted although its index files
    were written after the sync: without the `.txnindex` its aborted records were shown.
    """
    storage, log = new_log(SMALL)
    appended(log, batch_of(producer=(7, 0, 0), transactional=True))
    end(log, 7, 0, commit=False)
    recovery_point = log.log_end
    appended(log, batch_of(value=bytes(850)), durable=False)
    closed = log.segments[0]
    assert log.active.base_offset == recovery_point
    lost = [closed.file(names.TXNINDEX), closed.file(names.TXNCHECK)]
    assert [storage.size(path) is not None for path in lost] == [True, True]
    storage.perform([Remove(path) for path in lost])
    opened = reopen(log, clean=False, recovery_point=recovery_point)
    read = opened.log.read(0, 1 << 20, committed_only=True)
    assert read.aborted == [(7, 0)]


def test_D3_what_the_journal_says_was_synced_is_never_cut() -> None:
    storage, log = filled()
    storage.flip(log.active.path, log.active.size - 1)
    for synced in ({log.active.path: log.active.size}, {log.active.path: 5000}):
        with pytest.raises(CorruptLog, match=r"the journal says that .* was synced up to byte"):
            open_log(
                storage, NAME, TOPIC_ID, SMALL, NOW, clean=False, recovery_point=0, log_start=0,
                synced=synced,
            )  # fmt: skip
    opened = open_log(
        storage, NAME, TOPIC_ID, SMALL, NOW, clean=False, recovery_point=0, log_start=0,
        synced={log.active.path: 70},
    )  # fmt: skip
    assert "cut" in opened.report[0]
