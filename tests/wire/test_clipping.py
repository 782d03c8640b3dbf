"""An error text that repeats a long name must not cost the answer (X4)."""

from __future__ import annotations

import pytest

from flowstream.errors import WireError
from flowstream.wire.clipping import TEXT_MAX, clipped
from flowstream.wire.frame import decode_response, encode_response
from flowstream.wire.messages.create_topics import CreatableTopicResult, CreateTopicsResponse
from flowstream.wire.messages.join_group import JoinGroupResponse

LONG = "x" * 32_767


def answer(name: str, text: str | None) -> CreateTopicsResponse:
    return CreateTopicsResponse(
        topics=(
            CreatableTopicResult(name=name, error_code=17, error_message=text),
            CreatableTopicResult(name="b", error_message="short"),
        )
    )


@pytest.mark.parametrize("version", [2, 7])
def test_X4_a_text_that_does_not_fit_is_clipped_and_nothing_else(version: int) -> None:
    parts = encode_response(19, version, 7, answer(LONG, f"Topic name is invalid: {LONG}"))
    _, body = decode_response(19, version, b"".join(parts)[4:])
    long, short = body.topics
    assert (long.name, long.error_code, short.error_message) == (LONG, 17, "short")
    assert long.error_message == f"Topic name is invalid: {LONG}"[:TEXT_MAX] + "..."


def test_a_text_that_fits_stays_as_it_is() -> None:
    whole = answer("a", LONG)
    parts = encode_response(19, 7, 7, whole)
    assert decode_response(19, 7, b"".join(parts)[4:])[1].topics[0].error_message == LONG
    assert clipped(answer("a", None)) == answer("a", None)


def test_what_else_does_not_fit_is_still_an_error() -> None:
    with pytest.raises(WireError):
        encode_response(11, 5, 7, JoinGroupResponse(member_id="x" * 32_768))
