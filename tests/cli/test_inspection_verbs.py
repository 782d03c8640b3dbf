"""`flowstream dump` and `flowstream doctor` as commands, on a directory that our broker wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from typer.testing import CliRunner, Result

from flowstream.broker.doors import Remove
from flowstream.broker.log.journal import Piece, encode_frame
from flowstream.broker.storage.lock import DirectoryLock, DirectoryLocked, VisitorLock
from flowstream.broker.storage.readonly import ReadOnlyFiles
from flowstream.cli.app import build
from flowstream.cli.broker import BUSY
from flowstream.errors import StorageError

VERBS = build(("dump", "doctor", "topics", "send"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(VERBS, list(arguments))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a broker that had a topic with three records."""
    directory = tmp_path_factory.mktemp("stopped") / "data"
    command = [sys.executable, "-m", "flowstream", "broker", "--port", "0", "--data"]
    with subprocess.Popen([*command, str(directory)], stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        address = broker.stdout.readline().split()[1]
        assert call("topics", "create", "t", "--broker", address).exit_code == 0
        assert call("send", "t", "a", "b", "c", "--broker", address).exit_code == 0
        busy = call("doctor", str(directory))
        broker.terminate()
    assert (busy.exit_code, f"in use by process {broker.pid}" in busy.stderr) == (BUSY, True)
    return directory


def everything(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_doctor_says_whole_and_changes_nothing(stopped: Path) -> None:
    before = everything(stopped)
    result = call("doctor", str(stopped), "--deep")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith("0 errors, 0 warnings: the directory is whole")
    assert everything(stopped) == before


def test_D7_doctor_looks_behind_a_journal_and_changes_nothing(stopped: Path) -> None:
    journal = stopped / "journal-0.wal"
    path = f"t-0/{0:020d}.log"
    size = (stopped / path).stat().st_size
    (stopped / ".kafka_cleanshutdown").rename(stopped / "aside")
    try:
        journal.write_bytes(encode_frame(1, 1, b"saltsalt", [Piece(path, size, b"no batch")]))
        before = everything(stopped)
        result = call("doctor", str(stopped))
        assert result.exit_code == 1
        assert f"error    {path} byte {size}" in result.output
        assert "something is wrong" in result.output.splitlines()[-1]
        assert everything(stopped) == before
    finally:
        journal.unlink()
        (stopped / "aside").rename(stopped / ".kafka_cleanshutdown")


@pytest.mark.parametrize("where", ["broker", ".flowstream/broker"])
def test_doctor_of_an_apps_directory_examines_the_embedded_broker_in_it(
    stopped: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).symlink_to(stopped)
    result = call("doctor", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert f"its embedded broker's is {tmp_path / where}" in result.stderr
    assert "the directory is whole" in result.stdout


def test_doctor_names_file_place_and_remedy(stopped: Path, tmp_path: Path) -> None:
    path = stopped / "t-0" / f"{0:020d}.log"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"X")
    try:
        told = call("doctor", str(stopped))
        assert told.exit_code == 1
        assert "error    t-0/00000000000000000000.log byte" in told.stdout
        assert "-> restore the partition" in told.stdout
        found = [
            json.loads(line) for line in call("doctor", "--json", str(stopped)).stdout.splitlines()
        ]
        assert any(each["severity"] == "error" and "CRC" in each["what"] for each in found)
    finally:
        path.write_bytes(content)


def test_L1_a_partition_that_keeps_the_broker_from_starting_is_put_aside(
    stopped: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    copytree(stopped, data)
    (data / ".kafka_cleanshutdown").unlink()
    path = data / "t-0" / f"{0:020d}.log"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    command = [sys.executable, "-m", "flowstream", "broker", "--port", "0", "--data", str(data)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "flowstream doctor DIR --set-aside t-0" in refused.stderr
    whole = call("doctor", str(stopped), "--set-aside", "t-0")
    assert (whole.exit_code, "no start is refused for t-0" in whole.stderr) == (1, True)
    assert call("doctor", str(data), "--set-aside", "t").exit_code == 2
    done = call("doctor", str(data), "--set-aside", "t-0")
    assert done.exit_code == 0, done.output
    assert "t-0 is now t-0-stray" in done.stdout
    assert "at offset 3" in done.stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        address = broker.stdout.readline().split()[1]
        found = call("topics", "describe", "t", "--json", "--broker", address)
        assert json.loads(found.stdout)["partitions"] == [{"partition": 0, "start": 3, "end": 3}]
        busy = call("doctor", str(data), "--set-aside", "t-0")
        assert busy.exit_code == BUSY
        assert call("topics", "delete", "t", "--broker", address).exit_code == 0
        broker.terminate()
    assert (data / "t-0-stray" / path.name).exists()


def test_dump_tells_records_and_files(stopped: Path) -> None:
    log = str(stopped / "t-0" / f"{0:020d}.log")
    result = call("dump", "--deep", log, str(stopped / "meta.properties"))
    assert result.exit_code == 0, result.output
    assert 'value "a"' in result.stdout
    assert "node 0" in result.stdout
    lines = [json.loads(line) for line in call("dump", "--json", "--deep", log).stdout.splitlines()]
    assert [each["value"] for each in lines if each["kind"] == "record"] == ["a", "b", "c"]
    empty = stopped / "t-0" / f"{0:020d}.txnindex"
    empty.touch()
    assert "(empty)" in call("dump", str(empty)).stdout
    empty.unlink()
    refused = call("dump", str(stopped / ".lock"))
    assert (refused.exit_code, "not a file of a data directory" in refused.stderr) == (1, True)


def test_dump_of_a_directory_names_what_is_in_it(stopped: Path, tmp_path: Path) -> None:
    def told(directory: Path) -> str:
        refused = call("dump", str(directory))
        assert refused.exit_code == 2
        return refused.stderr

    named = told(stopped / "t-0")
    assert f"\n  {stopped}/t-0/{0:020d}.log\n" in named
    assert f"\n  {stopped}/t-0/{0:020d}.index" in named
    assert f"\n  {stopped}/meta.properties" in told(stopped)
    for theirs in ("broker.log", "000004.log"):  # an embedded broker's words, RocksDB's journal
        (stopped.parent / theirs).touch()
    assert f"There are some in:\n  {stopped}\n  " in told(stopped.parent)
    assert f"None below {tmp_path} can be explained" in told(tmp_path)


def test_those_who_look_keep_brokers_out_and_each_other_not(stopped: Path) -> None:
    first, second = VisitorLock(stopped), VisitorLock(stopped)
    with pytest.raises(DirectoryLocked):
        DirectoryLock(stopped)
    first.release()
    second.release()
    DirectoryLock(stopped).release()


def test_those_who_look_cannot_write(stopped: Path, tmp_path: Path) -> None:
    storage = ReadOnlyFiles(stopped)
    with pytest.raises(AssertionError):
        storage.perform([Remove("meta.properties")])
    with pytest.raises(StorageError, match="nowhere"):
        storage.read("nowhere", 0, 1)
    assert storage.size("nowhere") is None
    assert storage.names("nowhere") == []
    storage.close()
    VisitorLock(tmp_path).release()
