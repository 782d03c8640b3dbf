"""How a table's keys and values become its rows, and which rows are another declaration's.

Pure. A row's key may differ from the key's bytes in a topic: these place a key, the row's order it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import msgspec

from flowstream.processing.errors import AppError, RowUnreadable
from flowstream.processing.time.dues import WRITTEN_AS_BEGINS, WRITTEN_AS_KEY
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec, refusal
from flowstream.state.expiring import TIME_ROW
from flowstream.state.keys import after, ordered_keys

_OF_WINDOWS = re.compile(
    re.escape(WRITTEN_AS_BEGINS)
    + rb"(windows of \d+ ms that start every \d+ ms|sessions|sliding windows)"
)
"""What else the row of that name holds is a key's value, in a table without windows."""

K = TypeVar("K")
Migrate = Callable[[Any], Any]
"""An old row to a new value: a dict where the row is a JSON object, else the row's bytes."""


@dataclass(frozen=True, slots=True)
class RowKeys(Generic[K]):
    """A table's keys in its store and changelog."""

    encode: Callable[[K], bytes]
    decode: Callable[[bytes], K]
    begin: Callable[[Any], bytes] | None
    """Where keys that begin so begin; None when rows are not in the order of their keys."""
    stop: Callable[[bytes], bytes | None] = after
    """The first row behind those, by that."""


def row_keys(table: str, kind: Any, codec: Codec[Any], *, ordered: bool) -> RowKeys[Any]:
    """How a table writes keys of a type. AppError when they are to be ordered and cannot be."""
    found = ordered_keys(kind)

    def begin(leading: Any) -> bytes:
        assert found is not None
        try:
            return found.begin(leading)
        except (TypeError, ValueError) as error:
            what = f"a bound or a prefix of table {table!r}"
            raise refusal(codec, leading, error, what, "key_type") from None

    if not ordered:
        return RowKeys(codec.encode, codec.decode, begin if kind in (str, bytes) else None)
    if found is None:
        raise AppError(
            f"table {table!r} cannot be ordered=True: keys of type {codec.name} have no order that"
            " its rows could keep. Use int, float, bool, str, bytes, datetime, date, UUID, or a"
            " tuple, NamedTuple, frozen dataclass or frozen Struct of these"
        )
    return RowKeys(found.encode, found.decode, begin, found.stop)


class Rows(Protocol):
    """What `refuse_other_rows` needs of a store."""

    def get(self, key: bytes) -> bytes | None:
        """The row of `key`."""

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows in order."""


def refuse_other_rows(table: str, keys: RowKeys[Any], store: Rows, *, expires: bool) -> None:
    """AppError when a store's rows were written by another declaration of the table."""
    first = next((key for key, _ in store.scan() if key != TIME_ROW), None)
    if first is None:
        return
    if (store.get(TIME_ROW) is not None) is not expires:
        _refuse(table, "without ttl=" if expires else "with ttl=")
    try:
        keys.decode(first)
    except DECODE_ERRORS:
        _refuse(table, f"with another key type, or ordered= otherwise (its first is {first!r:.80})")


def refuse_other_windows(table: str, written_as: bytes | None, store: Rows) -> None:
    """AppError when a store's rows are of other windows than the table's (None: of none): they
    would be taken for windows of this size, or for nobody's.
    """
    found = _OF_WINDOWS.fullmatch(store.get(WRITTEN_AS_KEY) or b"")
    if found is not None and found[1] != written_as:
        now = "without windows" if written_as is None else f"with {written_as.decode()}"
        _refuse(table, f"for {found[1].decode()}, and is declared {now}")


def _refuse(table: str, how: str) -> NoReturn:
    raise AppError(
        f"table {table!r} has rows that were written {how}: declare it as it was, give it another"
        " name, or start the app over with `flowstream reset`"
    )


def mended(table: str, key: object, row: bytes, error: Exception, migrate: Migrate | None) -> Any:
    """What an old row means to the new value type. RowUnreadable when nobody can tell."""
    told = _told(error)
    if migrate is None:
        raise RowUnreadable(
            f"table {table!r}: the row of key {key!r:.80} does not fit the table's value type"
            f" ({told}): give the new fields defaults, or declare the table with migrate=, a"
            " function that makes a value of an old row"
        ) from error
    try:
        return migrate(_old(row))
    except Exception as failure:
        raise RowUnreadable(
            f"table {table!r}: migrate= failed on the row of key {key!r:.80}"
            f" ({type(failure).__name__}: {failure}), which does not fit the value type ({told})"
        ) from failure


def _old(row: bytes) -> Any:
    try:
        found = msgspec.json.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return row
    return found if isinstance(found, dict) else row


def _told(error: Exception) -> str:
    """What is wrong and where, in one line; pydantic tells it in several."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return f"{error}"
    listed = [
        f"{'.'.join(str(part) for part in each['loc']) or 'value'}: {each['msg']}"
        for each in errors()
    ]
    return "; ".join(listed)
