"""From a client certificate to a principal: the subject as Java writes it (RFC 2253), then
`ssl.principal.mapping.rules` (KIP-371).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from flowstream.broker.types import Principal

USER = "User"

_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""The attributes that RFC 2253 names; others are written as number and DER."""

_NUMBERED = {
    "emailAddress": ("1.2.840.113549.1.9.1", 0x16),
    "serialNumber": ("2.5.4.5", 0x13),
    "surname": ("2.5.4.4", 0x0C),
    "givenName": ("2.5.4.42", 0x0C),
    "title": ("2.5.4.12", 0x0C),
    "dnQualifier": ("2.5.4.46", 0x13),
}
"""Object identifier and the usual string type of further attributes."""

_SPECIAL = re.compile(r'[,+"\\<>;=]')
_RULE = re.compile(r"(?:(DEFAULT)|RULE:((?:\\.|[^\\/])*)/((?:\\.|[^\\/])*)/([LU]?))\s*(?:,\s*|$)")

Subject = Sequence[Sequence[tuple[str, str]]]
"""As `ssl.SSLSocket.getpeercert` tells it, the most general part first."""


class NoPrincipal(ValueError):
    """The certificate's subject is mapped to no principal: its owner is refused (X7)."""


class BadRules(ValueError):
    """`ssl.principal.mapping.rules` that cannot be read; the text says where."""


class MappingRule(NamedTuple):
    """One rule; without a pattern it is DEFAULT, the name as it is."""

    pattern: re.Pattern[str] | None = None
    replacement: str = ""
    case: str = ""

    def apply(self, name: str) -> str | None:
        """The principal's name, None when the rule is not about `name`."""
        if self.pattern is None:
            return name
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        mapped = match.expand(self.replacement)
        return {"L": mapped.lower(), "U": mapped.upper()}.get(self.case, mapped)


def parse_rules(text: str) -> tuple[MappingRule, ...]:
    """The rules of `RULE:pattern/replacement/[LU], ..., DEFAULT`. Raises BadRules."""
    rules: list[MappingRule] = []
    at = 0
    text = text.strip() or "DEFAULT"
    while at < len(text):
        match = _RULE.match(text, at)
        if match is None:
            raise BadRules(f"expected RULE:pattern/replacement/ or DEFAULT at {text[at:]!r}")
        at = match.end()
        if match[1]:
            rules.append(MappingRule())
            continue
        try:
            # Java writes the groups of a replacement $1, Python \g<1>.
            replacement = re.sub(r"\$(\d)", r"\\g<\1>", match[3].replace("\\", "\\\\"))
            rule = MappingRule(re.compile(match[2]), replacement, match[4])
            rule.pattern and re.sub(rule.pattern, rule.replacement, "")
        except (re.error, IndexError) as error:
            raise BadRules(f"{match[0]!r}: {error}") from error
        rules.append(rule)
    return tuple(rules)


def principal_of(subject: Subject, rules: Sequence[MappingRule]) -> Principal:
    """Who owns a certificate. Raises NoPrincipal."""
    name = distinguished_name(subject)
    for rule in rules:
        mapped = rule.apply(name)
        if mapped is not None:
            return Principal(USER, mapped)
    raise NoPrincipal("no rule of ssl.principal.mapping.rules matches the certificate's subject")


def distinguished_name(subject: Subject) -> str:
    """`CN=...,OU=...,C=...`: the most special part first."""
    parts = ("+".join(_attribute(*each) for each in part) for part in reversed(subject))
    return ",".join(parts)


def _attribute(name: str, value: str) -> str:
    short = _SHORT.get(name)
    if short is not None:
        return f"{short}={_escaped(value)}"
    if name not in _NUMBERED:
        raise NoPrincipal(f"the certificate's subject has {name}, whose written form is not known")
    number, tag = _NUMBERED[name]
    data = value.encode()
    if len(data) > 127:
        raise NoPrincipal(f"the certificate's subject has {name} of more than 127 bytes")
    return f"{number}=#{bytes((tag, len(data))).hex()}{data.hex()}"


def _escaped(value: str) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", value)
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    if value.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
