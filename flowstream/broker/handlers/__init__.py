"""Which API is served by which module, in which versions. One file per API; each has
`handle(request, cores, now)`.

A handler's module is imported when its first request comes, because start-up time counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode

Handler = Callable[[Request[Any], Cores, Instant], list[Effect]]


@dataclass(frozen=True, slots=True)
class Route:
    """One served API: its handler's module and the version range that ApiVersions tells."""

    module: str
    oldest: int
    newest: int


ROUTES: Mapping[int, Route] = {
    0: Route("produce", 0, 13),  # 0-2 are advertised but refused: see produce
    1: Route("fetch", 4, 18),
    2: Route("list_offsets", 1, 11),
    3: Route("metadata", 0, 13),
    8: Route("offset_commit", 2, 10),
    9: Route("offset_fetch", 1, 10),
    10: Route("find_coordinator", 0, 6),
    11: Route("join_group", 0, 9),
    12: Route("heartbeat", 0, 4),
    13: Route("leave_group", 0, 5),
    14: Route("sync_group", 0, 5),
    15: Route("describe_groups", 0, 6),
    16: Route("list_groups", 0, 5),
    17: Route("sasl_handshake", 0, 1),
    18: Route("api_versions", 0, 4),
    19: Route("create_topics", 2, 7),
    20: Route("delete_topics", 1, 6),
    21: Route("delete_records", 0, 2),
    22: Route("init_producer_id", 0, 5),
    23: Route("offset_for_leader_epoch", 2, 4),
    24: Route("add_partitions_to_txn", 0, 5),
    25: Route("add_offsets_to_txn", 0, 4),
    26: Route("end_txn", 0, 5),
    27: Route("write_txn_markers", 1, 2),
    28: Route("txn_offset_commit", 0, 5),
    29: Route("describe_acls", 1, 3),
    30: Route("create_acls", 1, 3),
    31: Route("delete_acls", 1, 3),
    32: Route("describe_configs", 1, 4),
    33: Route("alter_configs", 0, 2),
    34: Route("alter_replica_log_dirs", 1, 2),
    35: Route("describe_log_dirs", 1, 5),
    36: Route("sasl_authenticate", 0, 2),
    37: Route("create_partitions", 0, 3),
    42: Route("delete_groups", 0, 2),
    43: Route("elect_leaders", 0, 2),
    44: Route("incremental_alter_configs", 0, 1),
    45: Route("alter_partition_reassignments", 0, 1),
    46: Route("list_partition_reassignments", 0, 0),
    47: Route("offset_delete", 0, 0),
    48: Route("describe_client_quotas", 0, 1),
    49: Route("alter_client_quotas", 0, 1),
    50: Route("describe_user_scram_credentials", 0, 0),
    51: Route("alter_user_scram_credentials", 0, 0),
    55: Route("describe_quorum", 0, 2),
    57: Route("update_features", 0, 2),
    60: Route("describe_cluster", 0, 2),
    61: Route("describe_producers", 0, 0),
    65: Route("describe_transactions", 0, 0),
    66: Route("list_transactions", 0, 2),
    68: Route("consumer_group_heartbeat", 0, 1),
    69: Route("consumer_group_describe", 0, 1),
    74: Route("list_config_resources", 0, 1),
    75: Route("describe_topic_partitions", 0, 0),
}
"""Every served API by its key, from Kafka 4.0's floor to 4.3's top."""

_loaded: dict[int, Handler] = {}


def serves(key: int, version: int) -> bool:
    """Whether requests of this API and version are answered."""
    route = ROUTES.get(key)
    return route is not None and route.oldest <= version <= route.newest


def handler_of(key: int) -> Handler:
    """The handler of a served API."""
    handler = _loaded.get(key)
    if handler is None:
        module = import_module(f"{__name__}.{ROUTES[key].module}")
        handler = _loaded[key] = module.handle
    return handler


def unsupported_api_versions() -> object:
    """The answer to an ApiVersions request of an unknown version, readable in version 0: which
    versions there are (KIP-511).
    """
    from flowstream.wire.messages.api_versions import ApiVersion, ApiVersionsResponse

    route = ROUTES[ApiKey.API_VERSIONS]
    served = ApiVersion(
        api_key=ApiKey.API_VERSIONS, min_version=route.oldest, max_version=route.newest
    )
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=(served,))
