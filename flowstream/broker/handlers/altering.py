"""What AlterConfigs and IncrementalAlterConfigs share: the plan, its answer, and what is said of
settings that change nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flowstream.broker.config import NO_EFFECT, SETTINGS
from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, Notice
from flowstream.broker.events import Request
from flowstream.broker.metadata.alterations import Wanted, alter_configs
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.metadata.records import ConfigRecord, MetadataRecord
from flowstream.broker.metadata.topic_configs import TOPIC_CONFIGS
from flowstream.broker.types import Instant


def alter(
    request: Request[Any],
    wanted: Sequence[Wanted],
    response: Callable[..., object],
    of_resource: Callable[..., object],
    cores: Cores,
    now: Instant,
) -> list[Effect]:
    """Answer when the changes are durable; `response` and `of_resource` make the answer."""
    body = request.body
    plan = alter_configs(cores.image, cores.config, wanted, validate_only=body.validate_only)
    responses = tuple(
        of_resource(
            error_code=outcome.error,
            error_message=outcome.message,
            resource_type=each.type,
            resource_name=each.name,
        )
        for each, outcome in zip(wanted, plan.results, strict=True)
    )
    decision = Decision(
        records=plan.records, replies=((request.to, response(responses=responses)),)
    )
    return [*notices(plan.records), *commit_metadata(cores, decision, now)]


def notices(records: Iterable[MetadataRecord]) -> Iterator[Notice]:
    """A word for each setting that is kept but changes nothing: none is ignored in silence."""
    for record in records:
        if isinstance(record, ConfigRecord) and record.value is not None:
            declared = (
                TOPIC_CONFIGS if record.resource_type == ResourceType.TOPIC else SETTINGS
            ).get(record.name)
            if declared is not None and declared.doc.endswith(NO_EFFECT):
                whose = record.resource_name or "all brokers"
                yield Notice(f"{whose}: {record.name} changes nothing: this broker does without it")
