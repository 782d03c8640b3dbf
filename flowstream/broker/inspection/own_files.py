"""Files of a data directory that Kafka does not have: the journal, and what guards the files that
Kafka writes without a checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flowstream.broker.inspection.entries import File, problem
from flowstream.broker.inspection.words import Words
from flowstream.broker.log import checkpoints, journal, names
from flowstream.broker.log.aborted import agrees, decode_check
from flowstream.broker.log.checkpoints import CorruptCheckpoint


def explain_journal(file: File, *, deep: bool) -> Iterator[Words]:
    """The frames of a journal file, and what they hold of which file when `deep`. Those that an
    earlier life of the broker left behind the newest are passed over.
    """
    data = file.content()
    frames = list(journal.frames_of(data))
    floor = max((frame.floor for _, frame in frames), default=0)
    for position, frame in frames:
        yield {
            "kind": "frame",
            "position": position,
            "number": frame.number,
            "floor": frame.floor,
            "dead": frame.number < floor,
            "salt": frame.salt.hex(),
            "pieces": len(frame.pieces),
            "size": sum(len(piece.data) for piece in frame.pieces),
        }
        if deep:
            for piece in frame.pieces:
                where = {"path": piece.path, "position": piece.position, "size": len(piece.data)}
                yield {"kind": "piece", **where}
    newest = max((frame for _, frame in frames), key=lambda each: each.number, default=None)
    torn = journal.unfinished(data, newest)
    if torn is not None:
        told = "a frame begins here that is not whole: it was never acknowledged, or is damaged"
        yield problem(f"{told} (`flowstream doctor` tells which)", position=torn)


def _guard_of_aborted(file: File) -> Iterator[Words]:
    """The check beside a `.txnindex`, compared with that index."""
    found = decode_check(file.content())
    if found is None:
        yield problem(f"{file.size} bytes are not a log size and a CRC: the next start leaves it")
        return
    log_size, crc = found
    yield {"kind": "index check", "log_size": log_size, "crc": crc}
    stem = file.path.removesuffix(names.TXNCHECK)
    log, index = (file.storage.size(stem + suffix) for suffix in (names.LOG, names.TXNINDEX))
    content = file.storage.read(stem + names.TXNINDEX, 0, index) if index else memoryview(b"")
    if log is not None and not agrees(file.content(), log, content):
        yield problem("the index beside it is not what was written")


def _guarding_copy(file: File) -> Iterator[Words]:
    """A copy with a checksum of the offset checkpoint that nothing else contradicts."""
    told = checkpoints.unguarded(file.content())
    if told is None:
        yield problem("its checksum does not match: the next start leaves the copy out")
        return
    epoch, content = told
    yield {"kind": "copy", "broker_epoch": epoch}
    try:
        offsets = checkpoints.decode_offsets(content, file.path)
    except CorruptCheckpoint as error:
        yield problem(str(error))
        return
    for tp, offset in offsets.items():
        yield {"kind": "offset", "topic": tp.topic, "partition": tp.partition, "offset": offset}


OWN_EXPLAINERS: Mapping[str, Callable[[File], Iterator[Words]]] = {
    names.TXNCHECK: _guard_of_aborted,
    checkpoints.LOG_START + checkpoints.COPY: _guarding_copy,
}
