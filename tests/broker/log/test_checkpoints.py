"""Kafka's small text files, both ways, and what is refused."""

from __future__ import annotations

import pytest

from flowstream.broker.log import checkpoints
from flowstream.broker.log.checkpoints import CorruptCheckpoint, MetaProperties
from flowstream.broker.types import TopicPartition
from tests.broker.log.golden import files


@pytest.mark.parametrize(
    "name", [checkpoints.RECOVERY_POINT, checkpoints.LOG_START, checkpoints.HIGH_WATERMARK]
)
@pytest.mark.parametrize("state", ["clean", "crashed"])
def test_kafkas_offset_checkpoints_round_trip(state: str, name: str) -> None:
    data = files(state)[name]
    assert checkpoints.encode_offsets(checkpoints.decode_offsets(data, name)) == data


def test_kafkas_partition_files_round_trip() -> None:
    for path, data in files("clean").items():
        if path.endswith("leader-epoch-checkpoint"):
            assert checkpoints.encode_epochs(checkpoints.decode_epochs(data, path)) == data
        if path.endswith("partition.metadata"):
            topic_id = checkpoints.decode_partition_metadata(data, path)
            assert checkpoints.encode_partition_metadata(topic_id) == data


def test_kafkas_meta_properties_and_clean_mark() -> None:
    meta = checkpoints.decode_meta_properties(files("clean")["meta.properties"], "meta.properties")
    assert (meta.cluster_id, meta.node_id) == ("XNmBmHfkSQiA2i9W4VyOrQ", 1)
    ours = checkpoints.encode_meta_properties(meta)
    assert checkpoints.decode_meta_properties(ours, "x") == meta
    mark = files("clean")[checkpoints.CLEAN_SHUTDOWN]
    assert checkpoints.encode_clean_shutdown(223) == mark


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0\n",
        b"1\n0\n",
        b"0\n1\n",
        b"0\n2\na 0 1\n",
        b"0\n1\na 0\n",
        b"0\n1\na 0 x\n",
        b"0\n1\na 0 1",
        b"0\nx\n",
        b"\xff\n0\n",
    ],
)
def test_D7_a_checkpoint_that_is_not_understood_is_never_taken_for_an_empty_one(
    data: bytes,
) -> None:
    with pytest.raises(CorruptCheckpoint, match="the/path"):
        checkpoints.decode_offsets(data, "the/path")


@pytest.mark.parametrize("data", [b"0\n2\n1 0\n0 5\n", b"0\n1\n5\n", b"0\n2\n0 5\n1 4\n"])
def test_epochs_and_their_offsets_must_grow(data: bytes) -> None:
    with pytest.raises(CorruptCheckpoint):
        checkpoints.decode_epochs(data, "epochs")


@pytest.mark.parametrize(
    "data",
    [
        b"node.id=1\n",
        b"node.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\nversion=2\ncluster.id=x\n",
        b"node.id=a\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\nversion=1\ncluster.id=x\n",
        b"node.id=1\ndirectory.id=AAA\nversion=1\ncluster.id=x\n",
    ],
)
def test_meta_properties_of_another_kind_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptCheckpoint):
        checkpoints.decode_meta_properties(data, "meta.properties")


def test_values_round_trip() -> None:
    offsets = {TopicPartition("a.b-c_d", 3): 2**63 - 1, TopicPartition("x", 0): 0}
    assert checkpoints.decode_offsets(checkpoints.encode_offsets(offsets), "x") == offsets
    assert checkpoints.decode_offsets(checkpoints.encode_offsets({}), "x") == {}
    meta = MetaProperties("cluster", 7, bytes(range(16)))
    assert checkpoints.decode_meta_properties(checkpoints.encode_meta_properties(meta), "") == meta
