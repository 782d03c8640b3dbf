"""What a real Kafka 4.3.1 wrote, said of its own files, and said on the wire."""

from __future__ import annotations

import gzip
import json
import re
import struct
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from flowstream.wire.api import API, request_class, response_class
from flowstream.wire.batch import Record, decode_records
from flowstream.wire.batch_header import iter_batches
from flowstream.wire.schema import decode

DATA = Path(__file__).resolve().parent.parent / "data"


@cache
def segment(partition: str) -> bytes:
    """The first segment of `partition` in the cleanly stopped data directory."""
    with tarfile.open(DATA / "kafka-4.3.1-clean.tar.gz") as files:
        member = files.extractfile(f"clean/{partition}/00000000000000000000.log")
        assert member is not None
        return member.read()


def records(partition: str) -> Iterator[Record]:
    """Every record of the first segment of `partition` that is not a control record."""
    view = memoryview(segment(partition))
    for position, header in iter_batches(view):
        if not header.is_control:
            yield from decode_records(view[position : position + header.size])


def _whole(payload: str) -> Any:
    """The dump cuts very long lines off: then None."""
    return json.loads(payload) if payload.endswith("}") else None


@cache
def dump(partition: str) -> list[tuple[int, Any, Any]]:
    """(offset, key, payload) of every record of `partition`, as Kafka's dump tool prints it."""
    with gzip.open(DATA / "kafka-4.3.1-clean.dump.txt.gz", "rt") as file:
        lines = file.read().splitlines()
    start = lines.index(f"== clean/{partition}/00000000000000000000.log")
    found = []
    for line in lines[start + 1 :]:
        if line.startswith("== "):
            break
        match = re.match(
            r"\| offset: (\d+) .*headerKeys: \[\](?: key: (\{.*?\}))? payload: (.*)$", line
        )
        if match:
            key, payload = match.group(2), match.group(3)
            found.append((int(match.group(1)), json.loads(key) if key else None, _whole(payload)))
    return found


def frames(api_key: int) -> Iterator[tuple[int, Any, Any]]:
    """(version, request, response) of every recorded exchange of an API."""
    api = API[api_key]
    with gzip.open(DATA / "kafka-4.3.1-frames.jsonl.gz", "rt") as file:
        lines = file.read().splitlines()
    for line in lines:
        frame = json.loads(line)
        if frame["api_key"] != api_key:
            continue
        version = frame["version"]
        flexible = version >= api.flexible_from
        request, response = bytes.fromhex(frame["request"]), bytes.fromhex(frame["response"])
        (client_id,) = struct.unpack_from(">h", request, 8)
        body = request[10 + max(client_id, 0) + flexible :]
        answer = response[4 + (flexible and api_key != 18) :]
        yield (
            version,
            decode(request_class(api_key), body, version),
            decode(response_class(api_key), answer, version),
        )
