"""An examination finds what is wrong, names it, and changes nothing."""

from __future__ import annotations

import random

import pytest

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Append, MakeDirectory, Replace
from flowstream.broker.inspection.directory import DirectoryExam
from flowstream.broker.inspection.findings import Finding, Severity
from flowstream.broker.log.aborted import Aborted, encode_aborted
from flowstream.broker.log.checkpoints import replace_guarded
from flowstream.broker.log.journal import Piece, encode_frame
from flowstream.broker.log.names import TEMPORARY
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.wire.batch import encode_batch, iter_batches
from tests.broker.handlers.test_slicing import creation, deletion
from tests.broker.log.golden import NOW, files, storage_of
from tests.broker.machine import Machine, batch, produce

TX = f"tx-0/{4:020d}"
EPOCHS = {"clean": 223, "crashed": 11}
"""The broker epochs in which Kafka wrote the golden directories."""
ROLLED = f"rolled-0/{260:020d}"


def examined(storage: MemoryStorage, *, deep: bool = False) -> list[Finding]:
    return list(DirectoryExam(storage, BrokerConfig(), NOW, deep=deep).findings())


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is not Severity.NOTE]


def errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def changed(path: str, content: bytes | None, state: str = "clean") -> MemoryStorage:
    """The golden directory with another content of one file, or without it."""
    contents = dict(files(state))
    if content is None:
        del contents[path]
    else:
        contents[path] = content
    return storage_of(contents)


def test_a_directory_of_a_real_kafka_is_whole() -> None:
    exam = DirectoryExam(storage_of(files("clean")), BrokerConfig(), NOW, deep=True)
    assert bad(list(exam.findings())) == []
    assert exam.partitions == 25


def test_after_kill_9_nothing_durable_is_missing() -> None:
    findings = examined(storage_of(files("crashed")))
    assert bad(findings) == []
    assert any("not stopped cleanly" in finding.what for finding in findings)


def test_D6_a_changed_byte_of_a_segment_is_found_with_its_place() -> None:
    path = f"{TX}.log"
    content = bytearray(files("clean")[path])
    position, header = list(iter_batches(content))[3]
    content[position + header.size - 1] ^= 0x40
    found = errors(examined(changed(path, bytes(content))))
    first = next(finding for finding in found if finding.path == path)
    assert (first.position, first.offset) == (position, header.base_offset)
    assert first.what == "the CRC does not match the bytes; all of it was synced"
    assert "restore" in first.remedy


@pytest.mark.parametrize("suffix", ["log", "index", "timeindex", "txnindex", "snapshot"])
def test_D6_any_changed_byte_of_a_clean_partition_is_found_or_harmless(suffix: str) -> None:
    """Leader epochs, which have no CRC, are compared with the checkpoint as far as that tells."""
    rng = random.Random(suffix)
    path = f"{TX}.{suffix}" if suffix != "snapshot" else f"tx-0/{530:020d}.snapshot"
    content = files("clean")[path]
    storage = storage_of(files("clean"), "tx-0")
    contents = {p: c for p, c in files("clean").items() if p.startswith("tx-0/") or "/" not in p}
    for _ in range(40):
        at = rng.randrange(len(content))
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.randrange(8)
        if suffix == "log" and _is_leader_epoch(content, at):
            continue
        if suffix == "txnindex" and at % 34 in (0, 1, *range(26, 34)):
            continue  # a version and the last stable offset then: nobody uses them
        storage = storage_of({**contents, path: bytes(flipped)})
        found = [finding for finding in bad(examined(storage)) if "tx-0" in finding.path]
        assert found, f"byte {at} of {path} was changed and nobody said so"
    assert storage is not None


def _is_leader_epoch(content: bytes, at: int) -> bool:
    return any(position + 12 <= at < position + 16 for position, _ in iter_batches(content))


def test_T8_a_wrong_aborted_index_is_an_error() -> None:
    path = f"{TX}.txnindex"
    for content in (
        None,
        encode_aborted([Aborted(1, 5, 8, 9)]),
        encode_aborted([Aborted(9, 5, 8, 9)]),
    ):
        found = errors(examined(changed(path, content)))
        assert any("rolled back" in finding.what for finding in found)
    extra = files("clean")[path] + encode_aborted([Aborted(1, 40, 41, 42)])
    found = errors(examined(changed(path, extra)))
    assert any("has no marker in the log" in finding.what for finding in found)


def test_D3_a_torn_end_is_a_warning_and_below_what_was_synced_an_error() -> None:
    path = f"codec-none-0/{0:020d}.log"
    torn = encode_batch([(0, b"k", b"v", ())], base_offset=300)[:-3]
    (finding,) = [
        each
        for each in bad(examined(changed(path, files("crashed")[path] + bytes(torn), "crashed")))
        if each.path == path
    ]
    assert finding.severity is Severity.WARNING
    assert finding.offset == 300
    assert "cuts them off" in finding.remedy
    clean = errors(examined(changed(path, files("clean")[path] + bytes(torn))))
    assert clean[0].path == path


def test_a_missing_segment_or_partition_is_an_error() -> None:
    found = errors(examined(changed(f"{ROLLED}.log", None)))
    assert any("the one before it ends at 260" in finding.what for finding in found)
    contents = {p: c for p, c in files("clean").items() if not p.startswith("tx-1/")}
    found = errors(examined(storage_of(contents)))
    assert any(f.path == "tx-1" and "directory is missing" in f.what for f in found)


def test_a_short_log_is_an_error() -> None:
    path = f"codec-none-0/{0:020d}.log"
    found = errors(examined(changed(path, b"")))
    assert any("offsets up to 300 were synced" in finding.what for finding in found)


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("meta.properties", None, "missing"),
        ("meta.properties", b"version=1\n", "lacks"),
        ("recovery-point-offset-checkpoint", b"0\n2\n", "announced"),
        ("tx-0/partition.metadata", b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", "belongs to"),
        ("tx-0/leader-epoch-checkpoint", b"odd", "not a checkpoint"),
    ],
)
def test_small_files_are_examined(path: str, content: bytes | None, told: str) -> None:
    found = [
        finding for finding in errors(examined(changed(path, content))) if finding.path == path
    ]
    assert told in found[0].what
    assert found[0].remedy


def test_D7_without_the_topics_the_partitions_are_still_examined() -> None:
    path = f"__cluster_metadata-0/{0:020d}.log"
    content = bytearray(files("clean")[path])
    content[400] ^= 1
    exam = DirectoryExam(changed(path, bytes(content)), BrokerConfig(), NOW)
    found = errors(list(exam.findings()))
    assert any("topics cannot be read" in finding.what for finding in found)
    assert exam.partitions == 25


def test_strays_and_left_overs_are_told() -> None:
    contents = dict(files("clean"))
    contents["stranger-0/partition.metadata"] = contents["tx-0/partition.metadata"]
    contents[f"stranger-0/{0:020d}.log"] = contents[f"{TX}.log"]
    contents["old-0-stray/x"] = b""
    contents[f"tx-0/{99:020d}.log.deleted"] = b""
    findings = examined(storage_of(contents))
    told = {finding.path: finding.what for finding in findings}
    assert "no topic owns" in told["stranger-0"]
    assert "put aside" in told["old-0-stray"]
    assert "removes it" in told[f"tx-0/{99:020d}.log.deleted"]
    assert errors(findings) == []


def test_what_the_next_start_removes_is_no_stray() -> None:
    """A deleted topic's directory that has its name still, and one of a topic that a crash cut
    short: nobody is to look at them.
    """
    machine = Machine()
    machine.ask(creation("gone", "kept", partitions=1), 5)
    machine.ask(produce("gone", 0, batch(b"v")), 8)
    left = [name for name in machine.storage.names("gone-0") if not name.endswith(TEMPORARY)]
    content = {name: bytes(machine.storage.read(f"gone-0/{name}", 0, 1 << 20)) for name in left}
    machine.ask(deletion("gone"), 6)
    machine.storage.perform([MakeDirectory("gone-0"), MakeDirectory("never-0")])
    machine.storage.perform([Replace(f"gone-0/{name}", data) for name, data in content.items()])
    machine.storage.perform([Replace(f"never-0/{0:020d}.log", b"")])
    found = {finding.path: finding for finding in examined(machine.storage)}
    for name in ("gone-0", "never-0"):
        assert found[name].severity is Severity.NOTE
        assert "the next start removes it" in found[name].what
    machine.crash()
    assert not {"gone-0", "never-0"} & set(machine.storage.names(""))
    assert not [line for line in machine.report if "kept aside" in line]


def test_an_internal_record_that_cannot_be_understood_is_an_error() -> None:
    path = f"__consumer_offsets-1/{0:020d}.log"
    odd = encode_batch([(0, b"\0\1\0", b"v", ())], base_offset=4)
    found = errors(examined(changed(path, files("clean")[path] + bytes(odd))))
    assert any("cannot be understood" in f.what and f.offset == 4 for f in found)


def test_records_inside_a_valid_crc_are_read_when_asked() -> None:
    path = f"codec-none-0/{0:020d}.log"
    batch = encode_batch([(0, b"k", b"v", ())], base_offset=300)
    batch[61] ^= 4  # the record's length
    from flowstream.wire.batch_header import seal

    seal(batch, 0, len(batch))
    storage = changed(path, files("clean")[path] + bytes(batch))
    assert not any("understood" in finding.what for finding in examined(storage))
    assert any("understood" in finding.what for finding in errors(examined(storage, deep=True)))


def test_kafkas_empty_cleaner_checkpoint_names_no_log() -> None:
    assert bad(examined(changed("cleaner-offset-checkpoint", b""))) == []


def journalled(*pieces: Piece, cut: int = 100) -> MemoryStorage:
    """The crashed directory, `cut` bytes shorter in one segment, with a journal of these pieces."""
    path = f"{TX}.log"
    storage = changed(path, files("crashed")[path][:-cut], "crashed")
    storage.perform([Replace("journal-0.wal", encode_frame(1, 1, b"saltsalt", pieces))])
    return storage


def tail(cut: int = 100) -> Piece:
    """The bytes that `journalled` cut off."""
    whole = files("crashed")[f"{TX}.log"]
    return Piece(f"{TX}.log", len(whole) - cut, whole[-cut:])


def test_D3_what_a_journal_holds_is_examined_as_the_next_start_sees_it() -> None:
    assert [finding.path for finding in bad(examined(journalled()))] != []
    storage = journalled(tail())
    before = {path: bytes(file.data) for path, file in storage._files.items()}
    exam = DirectoryExam(storage, BrokerConfig(), NOW, deep=True)
    found = list(exam.findings())
    assert bad(found) == []
    assert any("what was synced of 1 files" in finding.what for finding in found)
    assert exam.partitions == 25
    assert {path: bytes(file.data) for path, file in storage._files.items()} == before


def test_D3_bad_bytes_that_the_journal_says_were_synced_are_an_error() -> None:
    path, position, data = tail()
    torn = Piece(path, position, bytes(data[:-1]) + bytes([data[-1] ^ 1]))
    found = errors(examined(journalled(torn)))
    assert any("the journal says" in each.what and each.path == path for each in found)
    assert any("the broker refuses it" in finding.what for finding in found)


def test_D7_a_journal_that_the_broker_refuses_is_an_error() -> None:
    storage = journalled(tail(), cut=101)
    exam = DirectoryExam(storage, BrokerConfig(), NOW)
    (finding,) = errors(list(exam.findings()))
    assert finding.path == "journal-0.wal"
    assert "the disk lost it" in finding.what
    assert exam.partitions == 0


def test_an_unfinished_frame_and_a_file_that_is_gone_are_told() -> None:
    storage = journalled(tail(), Piece("gone-0/x.log", 0, b"x"))
    unfinished = encode_frame(2, 1, b"saltsalt", [Piece("tx-1/x", 0, b"y" * 9)])
    unfinished[60] ^= 1
    storage.perform([Append("journal-0.wal", [unfinished])])
    told = [finding.what for finding in bad(examined(storage))]
    assert any("gone-0/x.log is gone" in what for what in told)
    assert any("never acknowledged" in what for what in told)


@pytest.mark.parametrize("state", ["clean", "crashed"])
def test_D6_the_copy_of_the_log_starts_counts_as_for_a_start(state: str) -> None:
    path = "log-start-offset-checkpoint"
    right = files(state)[path]
    storage = changed(path, b"0\n1\ncodec-none 0 200\n", state)
    storage.perform(replace_guarded(path, right, EPOCHS[state])[:1])
    finding = bad(examined(storage))[0]
    assert finding.path == path
    told = {"clean": "differs from", "crashed": "is newer or undamaged and is taken"}
    assert told[state] in finding.what
