"""Strangers that fail to shake hands do not fill the log (X4)."""

from __future__ import annotations

import pytest

from flowstream.broker.server.tls import QUIET_SECONDS, Seldom


def test_X4_failed_handshakes_are_counted_between_two_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Seldom()
    for number in range(1000):
        told.warn(100.0 + number * QUIET_SECONDS / 1000, f"failure {number}")
    told.warn(100.0 + QUIET_SECONDS, "failure again")
    assert caplog.messages == ["failure 0", "failure again (999 more since the last line)"]
