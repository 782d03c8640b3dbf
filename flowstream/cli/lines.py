"""Lines of standard input as they come: what is there is given, and nothing waits for more.

Shell. Reads in a thread of its own, which may wait for good: it holds no lock, and nobody waits for
it at the end.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TextIO

CHUNK_BYTES = 1 << 20


async def arriving(source: TextIO | None) -> AsyncIterator[list[str]]:
    """The lines of a text stream, those that are there already together; none of one that was
    closed as the process began. Bytes that are no UTF-8 are surrogates.
    """
    if source is None:
        return
    read = reader_of(source)
    begun: list[bytes] = []
    while data := await in_thread(read):
        first, *others = data.split(b"\n")
        begun.append(first)
        if others:
            yield [text_of(line) for line in (b"".join(begun), *others[:-1])]
            begun = others[-1:]
    if any(begun):
        yield [text_of(b"".join(begun))]


def text_of(line: bytes) -> str:
    """A line without its end."""
    return line.rstrip(b"\r").decode("utf-8", "surrogateescape")


def reader_of(source: TextIO) -> Callable[[], bytes]:
    """Gives the bytes that are there, waits for the first, and gives none at the end."""
    try:
        file = source.fileno()
    except OSError:  # not of the system: a test's
        buffer: Any = source.buffer
        return lambda: bytes(buffer.read1(CHUNK_BYTES))
    return lambda: os.read(file, CHUNK_BYTES)


async def in_thread(read: Callable[[], bytes]) -> bytes:
    """What `read` gives. Cancelled, nobody waits for it any more, the end of the process neither,
    unlike with `asyncio.to_thread`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(data)
        else:
            done.set_exception(error)

    def work() -> None:
        data, failed = b"", None
        try:
            data = read()
        except OSError as error:
            failed = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, data, failed)

    threading.Thread(target=work, name="flowstream-stdin", daemon=True).start()
    return await done
