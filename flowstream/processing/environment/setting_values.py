"""What a setting may be: texts and numbers as the environment and files have them, and objects that
code alone can give.

Pure.
"""

from __future__ import annotations

import datetime
import logging
import math
import os
import re
import ssl
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from flowstream.processing.commit import AT_LEAST_ONCE, EXACTLY_ONCE
from flowstream.processing.environment.cross_origin import is_cross_origin

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
OAUTHBEARER = "OAUTHBEARER"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER)
_TEXTS = (
    "broker",
    "data_dir",
    "client_id",
    "reply_to",
    "reply_to_prefix",
    "sasl_username",
    "sasl_password",
    "sasl_oauthbearer_token_endpoint_url",
    "sasl_oauthbearer_client_id",
    "sasl_oauthbearer_client_secret",
    "sasl_oauthbearer_scope",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "web_host",
    "web_token",
    "web_advertised",
    "key_serializer",
    "value_serializer",
)
_WHOLE_NUMBERS = {
    "topic_partitions": 1,
    "replication_factor": -1,
    "circuit_breaker": 0,
    "standby_replicas": 0,
    "acceptable_recovery_lag": 0,
    "max_warmup_replicas": 1,
    "max_partition_fetch_bytes": 1,
    "max_poll_records": 1,
    "max_buffered_records": 1,
    "commit_every": 1,
    "max_batch_bytes": 1,
    "max_record_bytes": 1,
}
"""With the least value of each."""
COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Kafka's numbers of them."""
MOST_PORT = 65_535
MOST_INT = 2_147_483_647
LEGAL_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
POLICIES = ("stop", "skip", "retry", "dead_letter", "park")
_YES_OR_NO = ("web_open", "topic_allow_declare", "worker_redirect_stdouts", "debug")


def _gives_tokens(value: object) -> bool:
    return callable(getattr(value, "token", None))


def _is_handlers(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(e, logging.Handler) for e in value)


OBJECTS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "ssl_context": (lambda value: isinstance(value, ssl.SSLContext), "an ssl.SSLContext"),
    "sasl_oauthbearer_token_provider": (_gives_tokens, "an object with `async def token(self)`"),
    "logging_config": (lambda value: isinstance(value, Mapping), "a dict as of logging.config"),
    "web_cors_options": (
        is_cross_origin,
        "a dict by origin ('https://shop.example' or '*') of dicts of allow_credentials,"
        " allow_headers, allow_methods, expose_headers and max_age",
    ),
    "loghandlers": (_is_handlers, "a list of logging.Handler"),
}
"""Settings that code alone can give: what they must be, and how it is called."""


def converted(name: str, value: Any) -> Any:
    """A value as its setting has it; ValueError or TypeError when it cannot."""
    if name in OBJECTS:
        return _object(name, value)
    if name == "timezone":
        return _zone(value)
    if name == "worker_redirect_stdouts_level":
        return _level(value)
    if name == "security_protocol":
        return _one_of(value, PROTOCOLS)
    if name == "on_error":
        return _one_of(value, POLICIES)
    if name == "sasl_mechanism":
        return _one_of(value, MECHANISMS)
    if name == "compression":
        return _one_of(value, tuple(COMPRESSIONS))
    if name in _TEXTS:
        if not (isinstance(value, str | os.PathLike) and str(value)):
            raise ValueError("a text is expected")
        return str(value)
    if name == "processing_guarantee":
        if value not in (EXACTLY_ONCE, AT_LEAST_ONCE):
            raise ValueError(f"use {EXACTLY_ONCE!r} or {AT_LEAST_ONCE!r}")
        return value
    if name in _YES_OR_NO:
        return _yes_or_no(value)
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    if name == "web_port":
        if not 0 <= int(value) == float(value) <= MOST_PORT:
            raise ValueError(f"a port is expected, 0 (any) to {MOST_PORT}")
        return int(value)
    if name == "group_instance_id":
        if not (isinstance(value, str) and LEGAL_ID.fullmatch(value)):
            raise ValueError("a name of letters, digits, '.', '_' and '-' is expected")
        return value
    if name in _WHOLE_NUMBERS:
        least = _WHOLE_NUMBERS[name]
        if int(value) != float(value) or not least <= int(value) <= MOST_INT:
            raise ValueError("a whole number is expected")
        return int(value)
    seconds = value.total_seconds() if isinstance(value, datetime.timedelta) else float(value)
    if not 0 < seconds < math.inf:
        raise ValueError("it must be a number of seconds, more than 0")
    return seconds


def _yes_or_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in found:
        raise ValueError("true or false is expected")
    return found[str(value).lower()]


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"use one of {', '.join(allowed)}")
    return str(value)


def _object(name: str, value: object) -> Any:
    fits, what = OBJECTS[name]
    if not fits(value):
        raise ValueError(f"{what} is expected, given in code")
    return value


def _zone(value: Any) -> Any:
    if isinstance(value, datetime.tzinfo):
        return value
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"{error}: a name as 'Europe/Berlin' is expected") from None
    return value


def _level(value: Any) -> str:
    known = logging.getLevelNamesMapping()
    if str(value).upper() not in known:
        raise ValueError("debug, info, warning or error is expected")
    return str(value).lower()
