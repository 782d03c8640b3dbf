"""Serializers by name, under Faust's names: `codecs.register("msgpack", MsgPack())`."""

from __future__ import annotations

from flowstream.processing.values.serializers import (
    Base64,
    Codec,
    Json,
    Raw,
    dumps,
    get_codec,
    loads,
    register,
)

__all__ = ["Codec", "binary", "dumps", "get_codec", "json", "loads", "raw", "register"]

json, raw, binary = Json, Raw, Base64
