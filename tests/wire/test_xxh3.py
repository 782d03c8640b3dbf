"""XXH3 against the reference implementation: an input for every branch."""

from __future__ import annotations

import pytest

from flowstream.wire.xxh3 import xxh3_64


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 0x2D06800538D394C2),
        (3, 0x5F4299FC161C9CBB),
        (8, 0x3A1C2D7C85AF88F8),
        (16, 0x8355E3A6F61770DB),
        (32, 0x3523581FE96E4C05),
        (100, 0x4E4F921A64BD1C),
        (128, 0x85C6174C7FF4C46B),
        (200, 0xF42A8864FEAF0703),
        (240, 0x375A384D957FE865),
        (241, 0x2E8CD95421C6D02),
        (1024, 0xA870F92984398D22),
        (1025, 0x78C86E91EE939852),
        (3000, 0xECDAADFF79528333),
    ],
)
def test_a_hash_is_that_of_the_reference(size: int, expected: int) -> None:
    assert xxh3_64(bytes(n & 255 for n in range(size))) == expected
