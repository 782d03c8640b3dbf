"""Topics made of others: what `Topic.derive` may say, by Faust's names too. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowstream.processing.declaring import COMPACT, POLICY, RETENTION, check_config, described
from flowstream.processing.errors import AppError
from flowstream.processing.events.schemas import schema_of
from flowstream.processing.events.topic import DERIVED, OF_ANOTHER
from flowstream.processing.values.durations import Seconds, positive

KEEPS: Final = ("retention", "compacting", "deleting")
FAUSTS: Final = ("schema", "topics", "prefix", "suffix", *KEEPS)


def derived(name: str, config: Mapping[str, str], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What changes of a topic, by the names of its own arguments. AppError when that cannot be."""
    unknown = changes.keys() - {*DERIVED, *OF_ANOTHER, *FAUSTS}
    if unknown:
        taken = ", ".join((*DERIVED, *OF_ANOTHER, *FAUSTS))
        raise AppError(f"Topic({name!r}).derive takes {taken}, not {', '.join(sorted(unknown))}")
    given = {each: value for each, value in changes.items() if value is not None}
    found = {each: given[each] for each in DERIVED if each in given}
    if "schema" in given:
        said = schema_of(given["schema"], f"Topic({name!r}).derive")
        of_schema = {each: getattr(said, each) for each in DERIVED if each != "name"}
        found = {**{n: value for n, value in of_schema.items() if value is not None}, **found}
        found["prepare"] = said.prepare
    own = _named(name, given)
    if own != name or "name" in found:
        found["name"] = own
    elsewhere = [each for each in (*OF_ANOTHER, *KEEPS) if each in given]
    if elsewhere and own == name:
        raise AppError(
            f"Topic({name!r}).derive: {', '.join(elsewhere)} cannot be other than the topic's: give"
            " the one that is derived another name="
        )
    if "partitions" in given:
        found["partitions"] = given["partitions"]
    if "config" in given or any(each in given for each in KEEPS):
        said_of = check_config(given.get("config", config), f"topic {own!r}")
        found["config"] = {**said_of, **kept(own, *(given.get(each) for each in KEEPS))}
    return found


def _named(name: str, given: Mapping[str, Any]) -> str:
    """The name of the derived topic."""
    topics = given.get("topics", [given.get("name", name)])
    if isinstance(topics, str) or len(topics) != 1 or ("topics" in given and "name" in given):
        raise AppError(
            f"Topic({name!r}).derive: a topic is one, so give its name=, not topics="
            f"{described(topics)}"
        )
    return f"{given.get('prefix', '')}{topics[0]}{given.get('suffix', '')}"


def kept(
    name: str, retention: Seconds | None, compacting: bool | None, deleting: bool | None
) -> dict[str, str]:
    """The configuration that says how long a topic keeps its records."""
    found: dict[str, str] = {}
    if retention is not None:
        found[RETENTION] = str(positive(f"topic {name!r}: retention", retention))
    policies = [word for word, on in ((COMPACT, compacting), ("delete", deleting)) if on]
    if (compacting, deleting) != (None, None):
        if not policies:
            raise AppError(f"topic {name!r}: it is compacting=True, deleting=True, or both")
        found[POLICY] = ",".join(policies)
    return found
