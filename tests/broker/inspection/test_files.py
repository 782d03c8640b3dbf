"""What the files of a real Kafka say is told as Kafka's own tool tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from flowstream.broker.doors import Replace
from flowstream.broker.inspection.files import UnknownFile, explain
from flowstream.broker.inspection.words import text_of
from flowstream.broker.log import names
from flowstream.broker.log.aborted import encode_check
from flowstream.broker.log.checkpoints import replace_guarded
from flowstream.broker.log.journal import Piece, encode_frame
from flowstream.cli.dump import sentence
from tests.broker.golden import dump
from tests.broker.log.golden import dumped, files, storage_of

STORAGE = storage_of(files("clean"))
SEGMENTS = sorted(path for path in dumped() if path.endswith(names.LOG) and dumped()[path])
TX = f"tx-0/{4:020d}"
Entry = Mapping[str, object]


def entries(path: str, kind: str, *, deep: bool = False) -> list[Entry]:
    return [entry for entry in explain(STORAGE, path, deep=deep) if entry["kind"] == kind]


@pytest.mark.parametrize("path", SEGMENTS)
def test_segments_are_told_as_kafka_tells_them(path: str) -> None:
    expected = dumped()[path]
    found = entries(path, "batch")[: len(expected)]
    columns = (
        "base_offset", "last_offset", "count", "base_sequence", "producer_id", "producer_epoch",
        "leader_epoch", "transactional", "control", "max_timestamp", "size", "crc",
    )  # fmt: skip
    assert [tuple(each[column] for column in columns) for each in found] == [
        tuple(getattr(batch, column) for column in columns) for batch in expected
    ]
    assert all(each["crc_ok"] for each in found)
    records = [e for e in explain(STORAGE, path, deep=True) if e["kind"] in ("record", "control")]
    told = [(e["offset"], e["timestamp"], e["key_size"], e["value_size"]) for e in records]
    assert told[: sum(len(b.records) for b in expected)] == [
        tuple(record) for batch in expected for record in batch.records
    ]


@pytest.mark.parametrize("partition", ["__consumer_offsets-0", "__consumer_offsets-3"])
def test_records_of_groups_are_decoded_as_kafka_decodes_them(partition: str) -> None:
    found = entries(f"{partition}/{0:020d}.log", "record", deep=True)
    checked = 0
    for entry, (offset, key, payload) in zip(found, dump(partition), strict=True):
        assert entry["offset"] == offset
        if key is None or key["type"] not in ("0", "1", "2"):
            continue
        told = entry["key"]
        assert isinstance(told, dict)
        assert told["group"] == key["data"]["group"]
        value = entry["value"]
        if key["type"] == "1" and payload is not None:
            assert isinstance(value, dict)
            assert value["offset"] == payload["data"]["offset"]
        checked += 1
    assert checked


def test_transactions_and_metadata_are_decoded() -> None:
    path = f"__transaction_state-0/{0:020d}.log"
    first = entries(path, "record", deep=True)[0]
    assert (first["type"], first["key"]) == ("Transaction", "golden-tx")
    kinds = {e["type"] for e in entries(f"__cluster_metadata-0/{0:020d}.log", "record", deep=True)}
    assert {"TopicRecord", "PartitionRecord", "FeatureLevelRecord"} <= kinds


def test_the_small_files_are_told() -> None:
    (aborted, *_) = entries(f"tx-0/{4:020d}.txnindex", "aborted")
    assert (aborted["producer_id"], aborted["first_offset"], aborted["last_offset"]) == (1, 5, 8)
    assert entries(f"tx-0/{4:020d}.index", "index")[0]["position"] == 12417
    assert entries(f"tx-0/{4:020d}.timeindex", "time")[0]["offset"] == 190
    producers = entries(f"tx-0/{530:020d}.snapshot", "producer")
    assert [each["transaction_from"] for each in producers] == [None, 27, None]
    offsets = entries("recovery-point-offset-checkpoint", "offset")
    assert {"kind": "offset", "topic": "tx", "partition": 0, "offset": 530} in offsets
    assert entries("tx-0/leader-epoch-checkpoint", "epoch")[0]["start_offset"] == 0
    (directory,) = entries("meta.properties", "directory")
    assert directory["node_id"] == 1
    assert entries(".kafka_cleanshutdown", "clean shutdown")


def test_every_file_of_the_directory_is_told_without_a_problem() -> None:
    for path in files("clean"):
        if path.rpartition("/")[2] in (".lock", "directory.id"):
            continue
        for entry in explain(STORAGE, path, deep=True):
            assert entry["kind"] != "problem", (path, entry)
            json.dumps(entry)
            assert sentence(entry)


def test_D6_what_does_not_fit_is_a_problem_and_the_rest_is_told() -> None:
    path = f"tx-0/{0:020d}.log"
    content = bytearray(files("clean")[path])
    content[70] ^= 1
    storage = storage_of({path: bytes(content) + b"\0\0", "a-0/1.index": b"123"})
    kinds = [entry["kind"] for entry in explain(storage, path)]
    assert kinds[:2] == ["batch", "problem"]
    assert kinds[-1] == "problem"
    told = [sentence(entry) for entry in explain(storage, path)]
    assert "BAD CRC" in told[0]
    assert told[-1].startswith("PROBLEM: no whole batch begins here; 2 bytes are left")
    (odd,) = explain(storage, "a-0/1.index")
    assert odd["kind"] == "problem"
    storage = storage_of({"leader-epoch-checkpoint": b"1\n", "1.snapshot": b"x"})
    for name in ("leader-epoch-checkpoint", "1.snapshot"):
        assert [entry["kind"] for entry in explain(storage, name)] == ["problem"]


def test_other_files_are_refused_with_what_is_known() -> None:
    with pytest.raises(UnknownFile, match=r"explained are \.log, \.checkpoint, "):
        explain(storage_of({"a-0/readme.txt": b""}), "a-0/readme.txt")
    with pytest.raises(UnknownFile, match="no such file"):
        explain(STORAGE, "tx-0/9.log")


def test_files_on_their_way_out_are_told_too() -> None:
    path = f"tx-0/{0:020d}.log"
    storage = storage_of({path + ".deleted": files("clean")[path]})
    assert next(iter(explain(storage, path + ".deleted")))["kind"] == "batch"


def test_keys_are_text_or_base64() -> None:
    assert [text_of(raw) for raw in (None, b"a", b"\xff", b"\0")] == [
        None,
        "a",
        {"base64": "/w=="},
        {"base64": "AA=="},
    ]


def test_a_journals_frames_are_told() -> None:
    path = "journal-0.wal"
    first = encode_frame(1, 1, b"saltsalt", [Piece("t-0/x.log", 5, b"abc"), Piece("t-1/y", 0, b"")])
    second = encode_frame(2, 2, b"saltsalt")
    stale = encode_frame(9, 9, b"othersal", [Piece("t-0/x.log", 0, b"old")])
    storage = storage_of({path: bytes(first + second + stale)})
    one, two = (e for e in explain(storage, path) if e["kind"] == "frame")
    assert (one["number"], one["pieces"], one["size"], one["dead"]) == (1, 2, 3, True)
    assert (two["number"], two["position"], two["dead"]) == (2, 4096, False)
    assert "frame 1 at byte 0: 3 bytes of 2 files, floor 1 (dead" in sentence(one)
    pieces = [sentence(e) for e in explain(storage, path, deep=True) if e["kind"] == "piece"]
    assert pieces == ["  t-0/x.log byte 5: 3 bytes", "  t-1/y byte 0: 0 bytes"]


@pytest.mark.parametrize("number", [0, 1])
def test_D3_a_frame_that_is_not_whole_is_a_problem_with_its_place(number: int) -> None:
    frames = [encode_frame(at, 1, b"saltsalt", [Piece("t-0/x", 0, b"abc")]) for at in (1, 2)]
    frames[number][50] ^= 1
    storage = storage_of({"journal-1.wal": bytes(b"".join(frames[: number + 1]))})
    (problem,) = (e for e in explain(storage, "journal-1.wal") if e["kind"] == "problem")
    assert problem["position"] == 4096 * number
    assert "flowstream doctor" in str(problem["what"])


def test_what_guards_files_without_a_checksum_is_told() -> None:
    index, log = files("clean")[f"{TX}.txnindex"], files("clean")[f"{TX}.log"]
    contents = {f"{TX}.log": log, f"{TX}.txnindex": index}
    check = f"{TX}.txnindex.crc"
    good = storage_of({**contents, check: encode_check(len(log), index)})
    (entry,) = explain(good, check)
    assert f"of a segment of {len(log)} bytes" in sentence(entry)
    other = storage_of({**contents, check: encode_check(len(log), index[:-1] + b"?")})
    assert [e["kind"] for e in explain(other, check)] == ["index check", "problem"]
    assert [e["kind"] for e in explain(storage_of({check: b"short"}), check)] == ["problem"]


def test_the_copy_of_a_checkpoint_is_told() -> None:
    path = "log-start-offset-checkpoint"
    content = b"0\n1\nt 0 7\n"
    operation, _ = replace_guarded(path, content, 5)
    assert isinstance(operation, Replace)
    epoch, entry = explain(storage_of({f"{path}.copy": bytes(operation.data)}), f"{path}.copy")
    assert epoch["broker_epoch"] == 5
    assert sentence(entry) == "t-0: 7"
    damaged = storage_of({f"{path}.copy": bytes(operation.data).replace(b"7", b"8")})
    assert [e["kind"] for e in explain(damaged, f"{path}.copy")] == ["problem"]
