"""`flowstream dump`: what the files of a data directory say, in words or as JSON lines."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from flowstream.broker.inspection.files import explain, is_explained
from flowstream.broker.storage.readonly import ReadOnlyFiles
from flowstream.cli.options import Json
from flowstream.errors import FlowstreamError
from flowstream.processing.values.moments import moment_text

SENTENCES: Mapping[str, str] = {
    "batch": "batch {base_offset}..{last_offset} at byte {position}: {count} records, {size} bytes,"
    " crc {crc}, {codec}, {timestamp_type} {max_time}, leader epoch {leader_epoch}"
    "{producer}{marks}",
    "record": "  record {offset} at {time}: key {key}, value {value}{type}{headers}",
    "control": "  control {offset} at {time}: {control}",
    "index": "offset {offset} is in the batch at byte {position}",
    "time": "{time} ({timestamp}) is reached at offset {offset}",
    "aborted": "aborted: producer {producer_id}, offsets {first_offset}..{last_offset}, last stable"
    " offset then {last_stable_offset}",
    "producer": "producer {producer_id} epoch {producer_epoch}: last sequence {last_sequence} at"
    " offset {last_offset}, coordinator epoch {coordinator_epoch}, transaction from"
    " {transaction_from}",
    "offset": "{topic}-{partition}: {offset}",
    "epoch": "leader epoch {epoch} begins at offset {start_offset}",
    "frame": "frame {number} at byte {position}: {size} bytes of {pieces} files,"
    " floor {floor}{dead}",
    "piece": "  {path} byte {position}: {size} bytes",
    "index check": "the aborted index of a segment of {log_size} bytes has the CRC {crc}",
    "partition": "topic id {topic_id}",
    "directory": "cluster {cluster_id}, node {node_id}, directory {directory_id}",
    "clean shutdown": "stopped cleanly (broker epoch {broker_epoch})",
    "copy": "a copy, written in epoch {broker_epoch} of the broker",
    "quorum state": "metadata quorum: {content}",
    "problem": "PROBLEM: {what}{at}",
}


def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Segments, indexes, journals, snapshots, checkpoints, properties.",
            exists=True,
        ),
    ],
    deep: Annotated[
        bool, typer.Option("--deep", help="What batches and frames hold, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Explain files of a data directory. Status 1 when something in them does not fit."""
    for file in files:
        if file.is_dir():
            typer.echo(f"error: {file} is a directory: name files. {inside(file)}", err=True)
            raise typer.Exit(2)
    problems = 0
    for file in files:
        path = file.resolve()
        storage = ReadOnlyFiles(path.parent.parent)
        if not json:
            typer.echo(f"== {file}" + ("" if path.stat().st_size else " (empty)"))
        try:
            for entry in explain(storage, f"{path.parent.name}/{path.name}", deep=deep):
                problems += entry["kind"] == "problem"
                if json:
                    line = {"file": str(file), **entry}
                    typer.echo(json_module.dumps(line, ensure_ascii=False))
                else:
                    typer.echo(sentence(entry))
        except FlowstreamError as error:
            typer.echo(f"error: {error}", err=True)
            problems += 1
        finally:
            storage.close()
    raise typer.Exit(1 if problems else 0)


def inside(directory: Path) -> str:
    """Which files of a directory can be explained."""
    found = [path for path in sorted(directory.iterdir()) if is_explained(path.name)]
    names = [str(path) for path in found if path.is_file()]
    if names:
        return "\n  ".join(("Those that can be explained:", *names))
    below = sorted({str(path.parent) for path in directory.rglob("*") if is_explained(path.name)})
    if below:
        return "\n  ".join(("There are some in:", *below))
    return f"None below {directory} can be explained"


def sentence(entry: Mapping[str, object]) -> str:
    """An entry in words."""
    words = dict(entry)
    for name, source in (("time", "timestamp"), ("max_time", "max_timestamp")):
        stamp = words.get(source)
        if isinstance(stamp, int):
            words[name] = moment_text(stamp) or "no time"
    if entry["kind"] == "batch":
        words["producer"] = _producer(entry)
        marks = [mark for mark in ("transactional", "control") if entry[mark]]
        marks += ["BAD CRC"] * (not entry["crc_ok"])
        words["marks"] = "".join(f", {mark}" for mark in marks)
    if entry["kind"] == "record":
        words["type"] = f" ({entry['type']})" if "type" in entry else ""
        words["headers"] = f", headers {entry['headers']}" if entry["headers"] else ""
        words["key"] = _short(entry.get("key"))
        words["value"] = _short(entry.get("value"))
    if entry["kind"] == "frame":
        words["dead"] = " (dead: its files were synced since)" if entry["dead"] else ""
    if entry["kind"] == "problem":
        words["at"] = f" (byte {entry['position']})" if "position" in entry else ""
    return SENTENCES[str(entry["kind"])].format_map(words)


def _producer(entry: Mapping[str, object]) -> str:
    if entry["producer_id"] == -1:
        return ""
    return (
        f", producer {entry['producer_id']} epoch {entry['producer_epoch']} from sequence"
        f" {entry['base_sequence']}"
    )


def _short(value: object) -> str:
    return "null" if value is None else json_module.dumps(value, ensure_ascii=False)
