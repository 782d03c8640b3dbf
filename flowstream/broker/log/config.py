"""What a partition's log needs of its topic's configuration. Plain values; names, bounds and
defaults are the metadata's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowstream.wire.batch import RECORD_MIN

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
"""Kafka's names of the compression codecs; the position is the number in the batch attributes."""

BATCH_MIN = 1 << 20
"""What a batch may hold at least, however small it has to be when it comes."""
EXPANSION = 16
"""How many times its largest size a batch may expand to."""

LONG_MAX = 2**63 - 1
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Topic settings under Kafka's names, with Kafka's defaults. Times in ms, sizes in bytes, -1
    for no bound.
    """

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * DAY_MS
    segment_jitter_ms: int = 0
    """Each segment is closed up to so much earlier, lest all logs begin new ones at once."""
    segment_index_bytes: int = 10 << 20
    index_interval_bytes: int = 4096
    max_message_bytes: int = 1048588
    retention_ms: int = 7 * DAY_MS
    retention_bytes: int = -1
    compact: bool = False
    delete: bool = True
    log_append_time: bool = False
    codec: int | None = None
    """Codec of stored batches; None keeps the producer's."""
    gzip_level: int = -1
    lz4_level: int = 9
    zstd_level: int = 3
    full_validation: bool = False
    """Whether the records of every batch are read before it is stored."""
    reads_records: bool = field(init=False, default=False)
    """Whether a batch's header is not enough to decide about it."""
    max_records: int = field(init=False, default=0)
    """Records of one batch: as many as fit uncompressed. More of them in a small one would be much
    work for all that ever read it (X3).
    """
    timestamp_before_max_ms: int = LONG_MAX
    timestamp_after_max_ms: int = 3600 * 1000
    """KIP-937; the default since Kafka 4.0."""
    producer_expiration_ms: int = DAY_MS
    delete_retention_ms: int = DAY_MS
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = LONG_MAX
    min_cleanable_ratio: float = 0.5

    def __post_init__(self) -> None:
        """Work out what every batch asks."""
        reads = self.compact or self.codec is not None or self.full_validation or self.bounds_age
        object.__setattr__(self, "reads_records", reads)
        most = max(self.max_message_bytes, BATCH_MIN) // RECORD_MIN
        object.__setattr__(self, "max_records", most)

    @property
    def max_expanded(self) -> int:
        """Bytes that a compressed batch whose records are read may expand to (X3)."""
        return max(self.max_message_bytes, BATCH_MIN) * EXPANSION

    @property
    def bounds_age(self) -> bool:
        """Whether a record may be too old."""
        return self.timestamp_before_max_ms < LONG_MAX

    @property
    def compression_level(self) -> int:
        """The level of `codec`; what has no levels passes over it."""
        levels = (0, self.gzip_level, 0, self.lz4_level, self.zstd_level)
        return levels[self.codec or 0]

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> LogConfig:
        """From Kafka's setting names; what is absent has Kafka's default, what a log does not need
        is passed over.

        >>> LogConfig.of({"segment.bytes": "1048576", "cleanup.policy": "compact"}).compact
        True
        """
        values: dict[str, int] = {
            attribute: int(settings[name]) for name, attribute in _WHOLE.items() if name in settings
        }
        policies = [each.strip() for each in settings.get("cleanup.policy", "delete").split(",")]
        codec = settings.get("compression.type", "producer")
        compact = "compact" in policies
        if compact and "max.compaction.lag.ms" in settings:
            # The active segment is never cleaned: it must be closed before its time (KIP-354).
            age, lag = values.get("segment_ms", 7 * DAY_MS), values["max_compaction_lag_ms"]
            values["segment_ms"] = min(age, lag)
        return cls(
            compact=compact,
            delete="delete" in policies,
            log_append_time=settings.get("message.timestamp.type") == "LogAppendTime",
            full_validation=settings.get("record.validation") == "full",
            codec=None if codec == "producer" else _codec(codec),
            min_cleanable_ratio=float(settings.get("min.cleanable.dirty.ratio", "0.5")),
            **values,
        )


_WHOLE = {
    "segment.bytes": "segment_bytes",
    "segment.ms": "segment_ms",
    "segment.jitter.ms": "segment_jitter_ms",
    "segment.index.bytes": "segment_index_bytes",
    "index.interval.bytes": "index_interval_bytes",
    "max.message.bytes": "max_message_bytes",
    "retention.ms": "retention_ms",
    "retention.bytes": "retention_bytes",
    "message.timestamp.before.max.ms": "timestamp_before_max_ms",
    "message.timestamp.after.max.ms": "timestamp_after_max_ms",
    "producer.id.expiration.ms": "producer_expiration_ms",
    "compression.gzip.level": "gzip_level",
    "compression.lz4.level": "lz4_level",
    "compression.zstd.level": "zstd_level",
    "delete.retention.ms": "delete_retention_ms",
    "min.compaction.lag.ms": "min_compaction_lag_ms",
    "max.compaction.lag.ms": "max_compaction_lag_ms",
}


def _codec(name: str) -> int:
    return CODECS.index("none" if name == "uncompressed" else name)
