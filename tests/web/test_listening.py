"""The socket that a worker's web server listens on."""

from __future__ import annotations

import socket

from flowstream.processing.environment.settings import Settings
from flowstream.web.serving import bound


def test_an_answer_of_two_parts_waits_for_no_acknowledgement() -> None:
    with (
        bound(Settings(web_port=0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
