"""Where a value comes from: the names and places it could be set at, strongest first (KIP-226).

Pure, and about this broker's settings only: what a topic or a group sets for itself its own module
puts in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from flowstream.broker.config import SETTINGS, BrokerConfig, text_of


class Source(IntEnum):
    """Where a configuration's value comes from; Kafka's numbers."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    GROUP = 8


class Synonym(NamedTuple):
    """One place that has a value for a setting."""

    name: str
    value: str
    source: Source


def synonyms(config: BrokerConfig, names: tuple[str, ...]) -> tuple[Synonym, ...]:
    """Every value for `names`: the setting's own first, then coarser ones (hours) that stand in for
    it. Nothing when the first has no value of its own: Kafka does not tell then what stands in.
    """
    if not names:
        return ()
    own = tuple(_values(config, names[0]))
    if not own:
        return ()
    return own + tuple(each for name in names[1:] for each in _values(config, name))


def source_of(found: tuple[Synonym, ...]) -> Source:
    """The strongest source among `found`."""
    return found[0].source if found else Source.DEFAULT


def _values(config: BrokerConfig, name: str) -> Iterator[Synonym]:
    setting = SETTINGS[name]
    given = config
    if config.dynamic is not None:
        given = config.dynamic.given
        for changed, source in (
            (config.dynamic.own, Source.DYNAMIC_BROKER),
            (config.dynamic.cluster, Source.DYNAMIC_DEFAULT_BROKER),
        ):
            if name in changed:
                yield Synonym(name, _told(changed, name), source)
    if name in given.given:
        yield Synonym(name, text_of(getattr(given, setting.attribute)) or "", Source.STATIC_BROKER)
    default = text_of(setting.default)
    if default is not None:
        yield Synonym(name, default, Source.DEFAULT)


def _told(changed: Mapping[str, str], name: str) -> str:
    return text_of(SETTINGS[name].kind.parse(changed[name])) or ""
