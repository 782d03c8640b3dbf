"""CRC-32C: the known value, and the same as the package says."""

from __future__ import annotations

import crc32c as package
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.wire.checksum import crc32c


def test_the_check_value_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=300))
def test_any_buffer_and_the_packages_answer(data: bytes) -> None:
    assert crc32c(memoryview(bytearray(data))) == package.crc32c(data)
