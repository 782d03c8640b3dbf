"""The records of `__cluster_metadata-0` as Kafka declares them (KIP-631).

What they mean is in `image`, how they are framed in `record_frames`.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowstream.broker.metadata.security_records import (
    AccessControlEntryRecord,
    RemoveAccessControlEntryRecord,
    RemoveUserScramCredentialRecord,
    SecurityRecord,
    UserScramCredentialRecord,
)
from flowstream.wire.fields import (
    BOOLEAN,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT16,
    UUID,
    array,
    field,
    message,
    struct,
)


@struct
class BrokerEndpoint:
    """Where a broker listens."""

    name: str = field(STRING, "0+")
    host: str = field(STRING, "0+")
    port: int = field(UINT16, "0+")
    security_protocol: int = field(INT16, "0+")


@struct
class BrokerFeature:
    """A range of feature levels that a broker can run at."""

    name: str = field(STRING, "0+")
    min_supported_version: int = field(INT16, "0+")
    max_supported_version: int = field(INT16, "0+")


@message(versions="0-4", flexible="0+")
class RegisterBrokerRecord:
    """A broker process announced itself; fenced until a later record lets clients see it (0)."""

    broker_id: int = field(INT32, "0+")
    is_migrating_zk_broker: bool = field(BOOLEAN, "2+")
    incarnation_id: bytes = field(UUID, "0+")
    broker_epoch: int = field(INT64, "0+")
    end_points: tuple[BrokerEndpoint, ...] = field(array(BrokerEndpoint), "0+")
    features: tuple[BrokerFeature, ...] = field(array(BrokerFeature), "0+")
    rack: str | None = field(STRING, "0+", nullable="0+")
    fenced: bool = field(BOOLEAN, "0+", default=True)
    in_controlled_shutdown: bool = field(BOOLEAN, "1+")
    log_dirs: tuple[bytes, ...] = field(array(UUID), "3+", tag=0, tagged="3+")
    cordoned_log_dirs: tuple[bytes, ...] | None = field(
        array(UUID), "4+", nullable="4+", default=None, tag=1, tagged="4+"
    )


@message(versions="0", flexible="0+")
class UnregisterBrokerRecord:
    """A broker left the cluster for good (1)."""

    broker_id: int = field(INT32, "0+")
    broker_epoch: int = field(INT64, "0+")


@message(versions="0", flexible="0+")
class TopicRecord:
    """A topic came to be (2)."""

    name: str = field(STRING, "0+")
    topic_id: bytes = field(UUID, "0+")


@message(versions="0-2", flexible="0+")
class PartitionRecord:
    """A partition came to be; 1 adds directories (KIP-858), 2 eligible leaders (KIP-966) (3)."""

    partition_id: int = field(INT32, "0+", default=-1)
    topic_id: bytes = field(UUID, "0+")
    replicas: tuple[int, ...] = field(array(INT32), "0+")
    isr: tuple[int, ...] = field(array(INT32), "0+")
    removing_replicas: tuple[int, ...] = field(array(INT32), "0+")
    adding_replicas: tuple[int, ...] = field(array(INT32), "0+")
    leader: int = field(INT32, "0+", default=-1)
    leader_recovery_state: int = field(INT8, "0+", tag=0, tagged="0+")
    leader_epoch: int = field(INT32, "0+", default=-1)
    partition_epoch: int = field(INT32, "0+", default=-1)
    directories: tuple[bytes, ...] = field(array(UUID), "1+")
    eligible_leader_replicas: tuple[int, ...] | None = field(
        array(INT32), "2+", nullable="2+", default=None, tag=1, tagged="2+"
    )
    last_known_elr: tuple[int, ...] | None = field(
        array(INT32), "2+", nullable="2+", default=None, tag=2, tagged="2+"
    )


@message(versions="0", flexible="0+")
class ConfigRecord:
    """One configuration of a resource was set, or removed by a null value (4)."""

    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    name: str = field(STRING, "0+")
    value: str | None = field(STRING, "0+", nullable="0+")


@message(versions="0-2", flexible="0+")
class PartitionChangeRecord:
    """What changed of a partition; absent fields did not (5)."""

    partition_id: int = field(INT32, "0+", default=-1)
    topic_id: bytes = field(UUID, "0+")
    isr: tuple[int, ...] | None = field(
        array(INT32), "0+", nullable="0+", default=None, tag=0, tagged="0+"
    )
    leader: int = field(INT32, "0+", default=-2, tag=1, tagged="0+")
    replicas: tuple[int, ...] | None = field(
        array(INT32), "0+", nullable="0+", default=None, tag=2, tagged="0+"
    )
    removing_replicas: tuple[int, ...] | None = field(
        array(INT32), "0+", nullable="0+", default=None, tag=3, tagged="0+"
    )
    adding_replicas: tuple[int, ...] | None = field(
        array(INT32), "0+", nullable="0+", default=None, tag=4, tagged="0+"
    )
    leader_recovery_state: int = field(INT8, "0+", default=-1, tag=5, tagged="0+")
    directories: tuple[bytes, ...] | None = field(
        array(UUID), "1+", nullable="1+", default=None, tag=8, tagged="1+"
    )
    eligible_leader_replicas: tuple[int, ...] | None = field(
        array(INT32), "2+", nullable="2+", default=None, tag=6, tagged="2+"
    )
    last_known_elr: tuple[int, ...] | None = field(
        array(INT32), "2+", nullable="2+", default=None, tag=7, tagged="2+"
    )


@message(versions="0", flexible="0+")
class FenceBrokerRecord:
    """A broker is not to be used (7)."""

    id: int = field(INT32, "0+")
    epoch: int = field(INT64, "0+")


@message(versions="0", flexible="0+")
class UnfenceBrokerRecord:
    """A broker may be used again (8)."""

    id: int = field(INT32, "0+")
    epoch: int = field(INT64, "0+")


@message(versions="0", flexible="0+")
class RemoveTopicRecord:
    """A topic is gone, with its partitions and configurations (9)."""

    topic_id: bytes = field(UUID, "0+")


@message(versions="0", flexible="0+")
class FeatureLevelRecord:
    """A feature is finalized at a level; 0 means switched off (12)."""

    name: str = field(STRING, "0+")
    feature_level: int = field(INT16, "0+")


@struct
class QuotaEntity:
    """One part of what a quota is for; a null name is the default of its type."""

    entity_type: str = field(STRING, "0+")
    entity_name: str | None = field(STRING, "0+", nullable="0+")


@message(versions="0", flexible="0+")
class ClientQuotaRecord:
    """A quota was set or removed (14, KIP-546)."""

    entity: tuple[QuotaEntity, ...] = field(array(QuotaEntity), "0+")
    key: str = field(STRING, "0+")
    value: float = field(FLOAT64, "0+")
    remove: bool = field(BOOLEAN, "0+")


@message(versions="0", flexible="0+")
class ProducerIdsRecord:
    """A broker got a block of producer ids; the next one starts at `next_producer_id` (15)."""

    broker_id: int = field(INT32, "0+")
    broker_epoch: int = field(INT64, "0+", default=-1)
    next_producer_id: int = field(INT64, "0+")


@message(versions="0-3", flexible="0+")
class BrokerRegistrationChangeRecord:
    """What changed of a registration: `fenced` 1 or -1 for no longer (17)."""

    broker_id: int = field(INT32, "0+")
    broker_epoch: int = field(INT64, "0+")
    fenced: int = field(INT8, "0+", tag=0, tagged="0+")
    in_controlled_shutdown: int = field(INT8, "1+", tag=1, tagged="1+")
    log_dirs: tuple[bytes, ...] = field(array(UUID), "2+", tag=2, tagged="2+")
    cordoned_log_dirs: tuple[bytes, ...] | None = field(
        array(UUID), "3+", nullable="3+", default=None, tag=3, tagged="3+"
    )


@message(versions="0", flexible="0+")
class NoOpRecord:
    """Nothing; an active controller writes it to be seen (20)."""


@message(versions="0", flexible="0+")
class BeginTransactionRecord:
    """The records up to EndTransaction or AbortTransaction take effect together (23, KIP-868)."""

    name: str | None = field(STRING, "0+", nullable="0+", default=None, tag=0, tagged="0+")


@message(versions="0", flexible="0+")
class EndTransactionRecord:
    """The records since BeginTransaction take effect (24)."""


@message(versions="0", flexible="0+")
class AbortTransactionRecord:
    """The records since BeginTransaction never take effect (25)."""

    reason: str | None = field(STRING, "0+", nullable="0+", default=None, tag=0, tagged="0+")


@struct
class ControllerEndpoint:
    """Where a controller listens."""

    name: str = field(STRING, "0+")
    host: str = field(STRING, "0+")
    port: int = field(UINT16, "0+")
    security_protocol: int = field(INT16, "0+")


@struct
class ControllerFeature:
    """A range of feature levels that a controller can run at."""

    name: str = field(STRING, "0+")
    min_supported_version: int = field(INT16, "0+")
    max_supported_version: int = field(INT16, "0+")


@message(versions="0", flexible="0+")
class RegisterControllerRecord:
    """A controller process announced itself (27)."""

    controller_id: int = field(INT32, "0+")
    incarnation_id: bytes = field(UUID, "0+")
    zk_migration_ready: bool = field(BOOLEAN, "0+")
    end_points: tuple[ControllerEndpoint, ...] = field(array(ControllerEndpoint), "0+")
    features: tuple[ControllerFeature, ...] = field(array(ControllerFeature), "0+")


@message(versions="0", flexible="0+")
class ClearElrRecord:
    """The eligible leaders of one topic, or of all, are forgotten (28)."""

    topic_name: str = field(STRING, "0+")


MetadataRecord = (
    RegisterBrokerRecord
    | UnregisterBrokerRecord
    | TopicRecord
    | PartitionRecord
    | ConfigRecord
    | PartitionChangeRecord
    | FenceBrokerRecord
    | UnfenceBrokerRecord
    | RemoveTopicRecord
    | FeatureLevelRecord
    | ClientQuotaRecord
    | ProducerIdsRecord
    | BrokerRegistrationChangeRecord
    | NoOpRecord
    | BeginTransactionRecord
    | EndTransactionRecord
    | AbortTransactionRecord
    | RegisterControllerRecord
    | ClearElrRecord
    | SecurityRecord
)

WRITTEN: Mapping[type[MetadataRecord], tuple[int, int]] = {
    RegisterBrokerRecord: (0, 4),
    UnregisterBrokerRecord: (1, 0),
    TopicRecord: (2, 0),
    PartitionRecord: (3, 2),
    ConfigRecord: (4, 0),
    PartitionChangeRecord: (5, 2),
    FenceBrokerRecord: (7, 0),
    UnfenceBrokerRecord: (8, 0),
    RemoveTopicRecord: (9, 0),
    UserScramCredentialRecord: (11, 0),
    FeatureLevelRecord: (12, 0),
    ClientQuotaRecord: (14, 0),
    ProducerIdsRecord: (15, 0),
    BrokerRegistrationChangeRecord: (17, 3),
    AccessControlEntryRecord: (18, 0),
    RemoveAccessControlEntryRecord: (19, 0),
    NoOpRecord: (20, 0),
    RemoveUserScramCredentialRecord: (22, 0),
    BeginTransactionRecord: (23, 0),
    EndTransactionRecord: (24, 0),
    AbortTransactionRecord: (25, 0),
    RegisterControllerRecord: (27, 0),
    ClearElrRecord: (28, 0),
}
"""Class -> its number and the version that is written: the newest."""

RECORD_TYPES: Mapping[int, type[MetadataRecord]] = {
    number: record for record, (number, _) in WRITTEN.items()
}
"""Record type number -> class."""
