"""What `flowstream.codecs` has, where Faust has it."""

from __future__ import annotations

from flowstream.codecs import Codec, binary, dumps, get_codec, json, loads, raw, register

__all__ = ["Codec", "binary", "dumps", "get_codec", "json", "loads", "raw", "register"]
