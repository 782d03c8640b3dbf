"""Answers as JSON. Pure but for the library's response objects."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

KINDS = {401: "unauthorized", 403: "forbidden", 404: "missing", 503: "unavailable"}


def json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer for programs."""
    body = msgspec.json.encode(value, enc_hook=str) + b"\n"
    return Response(body, status, headers, media_type="application/json")


def failed(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """What went wrong, and how to do it right; `kind` is a word for programs."""
    kind = KINDS.get(status, "wrong" if status < 500 else "failed")
    return json({"kind": kind, "error": reason}, status, headers)
