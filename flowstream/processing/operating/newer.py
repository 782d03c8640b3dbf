"""Whether a compacted topic has newer records of keys: what is sent back there would outlive them.

Shell. Reads a topic's partition behind the oldest of the records that are asked about, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowstream.processing.events.redriven import age_of
from flowstream.processing.operating.letters import Keyed
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.configs import Kind, Resource, describe_configs
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import TopicPartition

POLICY, COMPACT = "cleanup.policy", "compact"


async def newest(cluster: Cluster, records: Iterable[tuple[Keyed, int]]) -> Mapping[Keyed, int]:
    """The offset of the newest record of each of these keys that lies behind the offset given (the
    least, where several are), where the topic is compacted. What was sent back there is as old as
    it was: of two that failed, the newer one may be left as that alone.
    """
    wanted: dict[TopicPartition, dict[bytes, int]] = {}
    for (tp, key), offset in records:
        keys = wanted.setdefault(tp, {})
        keys[key] = min(offset, keys.get(key, offset))
    found: dict[Keyed, int] = {}
    for topic in sorted({tp.topic for tp in wanted}):
        if await _is_compacted(cluster, topic):
            for tp in sorted(tp for tp in wanted if tp.topic == topic):
                found.update(await _newest_in(cluster, tp, wanted[tp]))
    return found


async def _is_compacted(cluster: Cluster, topic: str) -> bool:
    configs = await describe_configs(cluster, Resource(Kind.TOPIC, topic))
    policy = next((each.value for each in configs if each.name == POLICY), None)
    return COMPACT in (policy or "")


async def _newest_in(
    cluster: Cluster, tp: TopicPartition, keys: Mapping[bytes, int]
) -> dict[Keyed, int]:
    admin = Admin(cluster)
    start = (await admin.beginning_offsets([tp]))[tp]
    end = (await admin.end_offsets([tp], committed=True))[tp]
    reader = PartitionReader(cluster, tp, max(start, min(keys.values()) + 1))
    found: dict[Keyed, int] = {}
    while reader.position < end:
        for record in await reader.read():
            key = record.key
            if key is None or record.offset <= keys.get(key, record.offset):
                continue
            keyed = Keyed(tp, key)
            found[keyed] = max(age_of(record, tp.topic), found.get(keyed, -1))
    return found
