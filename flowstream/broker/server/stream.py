"""The byte side of a connection: what it needs of its socket, plain or TLS, and what is left to
send.
"""

from __future__ import annotations

import select
from typing import Protocol

from flowstream.broker.doors import Buffer


class Stream(Protocol):
    """What a connection needs of its socket, which never waits: BlockingIOError tells to come
    again.
    """

    def fileno(self) -> int:
        """The descriptor to watch."""
        ...

    def recv_into(self, buffer: memoryview, /) -> int:
        """Bytes received; 0 at the end."""
        ...

    def sendmsg(self, buffers: list[Buffer], /) -> int:
        """Bytes sent of `buffers`."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


def has_ended(stream: Stream) -> bool:
    """Whether the peer will send no more than what is there already, read or not."""
    poll = select.poll()
    poll.register(stream.fileno(), getattr(select, "POLLRDHUP", 0))  # elsewhere than on Linux: 0
    return bool(poll.poll(0))


def sent_behind(buffers: list[Buffer]) -> int:
    """Bytes of the first buffer that are sent already: it stays in memory as a whole."""
    first = buffers[0] if buffers else None
    if not isinstance(first, memoryview) or not isinstance(first.obj, bytes | bytearray):
        return 0
    return len(first.obj) - len(first)


def drop_sent(buffers: list[Buffer], sent: int) -> None:
    """Remove the first `sent` bytes from `buffers`."""
    done = 0
    for buffer in buffers:
        if sent < len(buffer):
            break
        sent -= len(buffer)
        done += 1
    del buffers[:done]
    if sent:
        buffers[0] = memoryview(buffers[0])[sent:]
