"""A process that writes to a store until it is killed: batch n sets ten keys to n, offset n."""

from __future__ import annotations

import sys

from flowstream.state import rocksdb
from flowstream.state.store import StoreIdentity

KEYS = 400
PER_BATCH = 10
IDENTITY = StoreIdentity("app", "crash", 0)


def batch(number: int) -> dict[bytes, bytes | None]:
    """The rows of batch `number`; every seventh deletes instead."""
    value = None if number % 7 == 0 else b"%d" % number * 20
    first = number * PER_BATCH
    return {b"key-%04d" % ((first + n) % KEYS): value for n in range(PER_BATCH)}


def main() -> None:
    """Go on from where the store is; print each batch's number after writing it."""
    rocksdb.WRITE_BUFFER_BYTES = 64 << 10
    store = rocksdb.open_store(sys.argv[1], IDENTITY)
    number = store.changelog_offset or 0
    while True:
        number += 1
        store.write(batch(number), changelog_offset=number, source_offset=2 * number)
        print(number, flush=True)


if __name__ == "__main__":
    main()
