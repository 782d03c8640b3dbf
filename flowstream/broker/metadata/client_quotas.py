"""What clients may ask of quotas (KIP-546): change them, and find them by a filter.

Pure, in Kafka's words, error messages too.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from flowstream.broker.metadata.alterations import MAX_RECORDS
from flowstream.broker.metadata.image import Image, QuotaEntity
from flowstream.broker.metadata.plan import Plan, Refusal
from flowstream.broker.metadata.records import ClientQuotaRecord
from flowstream.broker.metadata.records import QuotaEntity as EntityPart
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_client_quotas import (
    EntityData,
    EntryData,
    EntryDataResponse,
    OpData,
)
from flowstream.wire.messages.describe_client_quotas import ComponentData

USER, CLIENT_ID, IP = "user", "client-id", "ip"
QUOTAS = {
    USER: (
        "producer_byte_rate",
        "consumer_byte_rate",
        "request_percentage",
        "controller_mutation_rate",
    ),
    IP: ("connection_creation_rate",),
}
"""Kafka's quotas, by what they are for: users and clients, or addresses."""
FRACTIONS = ("controller_mutation_rate", "request_percentage")
"""Quotas that need not be whole numbers."""

EXACT, DEFAULT, ANY = 0, 1, 2
LONG_MAX, INT_MAX = 2**63 - 1, 2**31 - 1


def alter_quotas(
    image: Image, entries: Sequence[EntryData], *, validate_only: bool
) -> Plan[EntryDataResponse]:
    """Change quotas; `validate_only` answers the same without records."""
    entities = [_entity(entry) for entry in entries]
    seen = Counter(entities)
    records: list[ClientQuotaRecord] = []
    results = []
    for entry, entity in zip(entries, entities, strict=True):
        error, message = ErrorCode.NONE, None  # type: ErrorCode, str | None
        try:
            if seen[entity] > 1:
                raise _refusal(f"Duplicate entity {_told(entity)}")
            _check_entity(entity)
            made = _alter(image, entity, entry.ops)
            if len(records) + len(made) > MAX_RECORDS:
                message = f"Excessively large number of quotas per request: at most {MAX_RECORDS}."
                raise Refusal(ErrorCode.POLICY_VIOLATION, message)
            records += made
        except Refusal as refusal:
            error, message = refusal.error, refusal.message
        told = tuple(EntityData(entity_type=type, entity_name=name) for type, name in entity)
        results.append(EntryDataResponse(error_code=error, error_message=message, entity=told))
    return Plan(() if validate_only else tuple(records), tuple(results))


def matching(
    image: Image, components: Sequence[ComponentData], *, strict: bool
) -> list[tuple[QuotaEntity, dict[str, float]]]:
    """The quotas that a filter finds; `strict`: for exactly the types it names. Raises Refusal."""
    _check_filter(components)
    wanted = {each.entity_type: each for each in components}
    found = []
    for entity, limits in image.quotas.items():
        names = dict(entity)
        if strict and names.keys() != wanted.keys():
            continue
        if all(type in names and _matches(each, names[type]) for type, each in wanted.items()):
            found.append((entity, limits))
    return found


def _entity(entry: EntryData) -> QuotaEntity:
    return tuple(sorted({each.entity_type: each.entity_name for each in entry.entity}.items()))


def _told(entity: QuotaEntity) -> str:
    return ", ".join(f"{type}={'<default>' if name is None else name}" for type, name in entity)


def _check_entity(entity: QuotaEntity) -> None:
    if not entity:
        raise _refusal("Invalid empty client quota entity")
    for type, name in entity:
        if type not in (USER, CLIENT_ID, IP):
            raise _refusal(f"Unhandled client quota entity type: {type}")
        if name == "":
            raise _refusal(f"Empty {type} not supported")
        if type == IP and len(entity) > 1:
            raise _refusal(
                "Invalid quota entity combination, IP entity should not be combined with "
                "User or ClientId"
            )
        if type == IP and name is not None and not _is_address(name):
            # Kafka also takes host names, and asks the name service.
            raise _refusal(f"{name} is not a valid IP: this broker does not resolve host names.")


def _alter(image: Image, entity: QuotaEntity, ops: Sequence[OpData]) -> list[ClientQuotaRecord]:
    if len({op.key for op in ops}) < len(ops):
        raise _refusal(f"Duplicate quota keys for {_told(entity)}")
    limits = image.quotas.get(entity, {})
    parts = tuple(EntityPart(entity_type=type, entity_name=name) for type, name in entity)
    records = []
    for op in ops:
        if not op.remove:
            _check_quota(IP if entity[0][0] == IP else USER, op)
        if op.key in limits if op.remove else limits.get(op.key) != op.value:
            value = 0.0 if op.remove else op.value
            records.append(
                ClientQuotaRecord(entity=parts, key=op.key, value=value, remove=op.remove)
            )
    return records


def _check_quota(kind: str, op: OpData) -> None:
    if op.key not in QUOTAS[kind]:
        raise _refusal(f"Invalid configuration key {op.key}")
    if math.isnan(op.value) or op.value <= 0:
        raise _refusal(f"Quota {op.key} must be greater than 0")
    most, type = (INT_MAX, "an INT") if kind == IP else (LONG_MAX, "a LONG")
    if op.key in FRACTIONS:
        if op.value > LONG_MAX:
            raise _refusal(f"Proposed value for {op.key} is too large for a LONG.")
        return
    if op.value > most:
        raise _refusal(f"Proposed value for {op.key} is too large for {type}.")
    if not op.value.is_integer():
        raise _refusal(f"{op.key} cannot be a fractional value.")


def _check_filter(components: Iterable[ComponentData]) -> None:
    types: set[str] = set()
    for each in components:
        type = each.entity_type
        if not type:
            raise _refusal("Invalid empty entity type.")
        if type in types:
            raise _refusal(f"Entity type {type} cannot appear more than once in the filter.")
        if type not in (USER, CLIENT_ID, IP):
            message = f"Unsupported entity type {type}"
            raise Refusal(ErrorCode.UNSUPPORTED_VERSION, message)
        types.add(type)
        if each.match_type not in (EXACT, DEFAULT, ANY):
            raise _refusal(f"Unknown match type {each.match_type}")
        if each.match_type == EXACT and each.match is None:
            raise _refusal("Request specified MATCH_TYPE_EXACT, but set match string to null.")
        if each.match_type != EXACT and each.match is not None:
            name = "MATCH_TYPE_DEFAULT" if each.match_type == DEFAULT else "MATCH_TYPE_SPECIFIED"
            raise _refusal(f"Request specified {name}, but also specified a match string.")
    if IP in types and len(types) > 1:
        raise _refusal(
            "Invalid entity filter component combination. IP filter component should not be used "
            "with user or clientId filter component."
        )


def _matches(component: ComponentData, name: str | None) -> bool:
    if component.match_type == ANY:
        return True
    return name == component.match  # which is None for the default


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(message: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_REQUEST, message)
