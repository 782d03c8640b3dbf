"""Settings of security: listeners, principals of certificates; what is unclear is refused (X7)."""

from __future__ import annotations

import pytest

from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.security.listeners import ListenerSpec, parse_listeners
from flowstream.broker.security.principals import (
    BadRules,
    NoPrincipal,
    distinguished_name,
    parse_rules,
    principal_of,
)
from flowstream.broker.server.securing import check_listeners

SUBJECT = (
    (("countryName", "DE"),),
    (("organizationName", "Example, Inc."),),
    (("commonName", "Bob"),),
)


def listeners(**settings: str) -> tuple[ListenerSpec, ...]:
    names = {name.replace("_", "."): value for name, value in settings.items()}
    return parse_listeners(BrokerConfig.of(names), "127.0.0.1", 9092)


def test_without_listeners_there_is_one_plain_one() -> None:
    (only,) = listeners()
    assert (only.name, only.protocol, only.host, only.port) == (
        "PLAINTEXT",
        "PLAINTEXT",
        "127.0.0.1",
        9092,
    )


def test_listeners_have_settings_of_their_own() -> None:
    inner, outer = listeners(
        listeners="INNER://127.0.0.1:0, OUTER://[::1]:9093",
        advertised_listeners="OUTER://kafka.example.org:443",
        listener_security_protocol_map="INNER:PLAINTEXT,OUTER:SASL_SSL",
        ssl_keystore_location="a.pem",
        ssl_client_auth="required",
        **{
            "listener.name.outer.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.outer.ssl.keystore.location": "b.pem",
        },
    )
    assert (inner.protocol, inner.sasl, inner.tls) == ("PLAINTEXT", False, False)
    assert (outer.host, outer.advertised_host, outer.advertised_port) == (
        "::1",
        "kafka.example.org",
        443,
    )
    assert (outer.mechanisms, outer.keystore, outer.client_auth) == (("PLAIN",), "b.pem", "none")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"listeners": "nonsense"}, "NAME://HOST:PORT"),
        ({"listeners": "PLAINTEXT://h:99999"}, "NAME://HOST:PORT"),
        ({"listeners": "A://h:1"}, "listener.security.protocol.map"),
        ({"listeners": "SSL://h:1"}, "ssl.keystore.location"),
        ({"listeners": "SSL://h:1", "ssl.keystore.key": "k"}, "ssl.keystore.certificate.chain"),
        (
            {"listeners": "SSL://h:1", "ssl.keystore.location": "a", "ssl.keystore.key": "k"},
            "two certificates",
        ),
        (
            {
                "listeners": "SSL://h:1",
                "ssl.keystore.location": "a",
                "ssl.truststore.location": "a",
                "ssl.truststore.certificates": "c",
            },
            "two lists of authorities",
        ),
        ({"listeners": "PLAINTEXT://h:1,PLAINTEXT://h:2"}, "twice"),
        ({"listeners": "PLAINTEXT://0.0.0.0:1"}, "advertised.listeners"),
        ({"listeners": "PLAINTEXT://:1"}, "advertised.listeners"),
        ({"advertised.listeners": "PLAINTEXT://h:1"}, "set both"),
        ({"listeners": "SASL_PLAINTEXT://h:1", "sasl.enabled.mechanisms": ""}, "mechanism"),
        ({"sasl.enabled.mechanisms": "GSSAPI"}, "must be one of"),
        ({"ssl.principal.mapping.rules": "RULE:x"}, "expected RULE:pattern/replacement/"),
        ({"ssl.keystore.type": "JKS"}, "must be one of"),
        (
            {"listeners": "PLAINTEXT://h:1", "listener.name.other.ssl.client.auth": "none"},
            "no listener",
        ),
        ({"listener.name.x.num.partitions": "1"}, "unknown setting"),
        (
            {
                "listeners": "SSL://h:1",
                "ssl.keystore.location": "a",
                "ssl.client.auth": "required",
            },
            "ssl.truststore.location",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace(".", r"\.")):
        parse_listeners(BrokerConfig.of(settings), "127.0.0.1", 9092)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("PLAINTEXT://127.0.0.1:1", True),
        ("PLAINTEXT://10.0.0.1:1", False),
        ("SSL://10.0.0.1:1", False),
        ("SASL_PLAINTEXT://10.0.0.1:1", True),
        ("SASL_SSL://10.0.0.1:1,PLAINTEXT://10.0.0.1:2", False),
        ("SASL_SSL://10.0.0.1:1,PLAINTEXT://localhost:2", True),
    ],
)
def test_X7_strangers_are_not_served_without_a_login(text: str, allowed: bool) -> None:
    specs = listeners(listeners=text, ssl_keystore_location="a.pem")
    check_listeners(specs, insecure_open=True)
    if allowed:
        check_listeners(specs, insecure_open=False)
    else:
        with pytest.raises(ConfigError, match="--insecure-open"):
            check_listeners(specs, insecure_open=False)


def test_a_certificate_that_is_required_is_a_login() -> None:
    (spec,) = listeners(
        listeners="SSL://10.0.0.1:1",
        ssl_keystore_location="a",
        ssl_truststore_location="b",
        ssl_client_auth="required",
    )
    check_listeners([spec], insecure_open=False)


def test_names_are_written_as_java_writes_them() -> None:
    assert distinguished_name(SUBJECT) == r"CN=Bob,O=Example\, Inc.,C=DE"
    email = ((("commonName", "x"), ("emailAddress", "a@b")),)
    assert distinguished_name(email) == "CN=x+1.2.840.113549.1.9.1=#1603614062"
    with pytest.raises(NoPrincipal):
        distinguished_name(((("jurisdictionCountryName", "x"),),))


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ("DEFAULT", r"CN=Bob,O=Example\, Inc.,C=DE"),
        ("", r"CN=Bob,O=Example\, Inc.,C=DE"),
        ("RULE:^CN=(.*?),.*$/$1/", "Bob"),
        ("RULE:^CN=(.*?),.*$/$1/L", "bob"),
        ("RULE:^CN=(.*?),.*C=(.*)$/$1@$2/U", "BOB@DE"),
        ("RULE:^OU=(.*)$/$1/, RULE:^CN=(.*?),.*$/x-$1/L,DEFAULT", "x-bob"),
        ("RULE:^OU=(.*)$/$1/,DEFAULT", r"CN=Bob,O=Example\, Inc.,C=DE"),
    ],
)
def test_mapping_rules(rules: str, name: str) -> None:
    assert str(principal_of(SUBJECT, parse_rules(rules))) == f"User:{name}"


def test_X7_who_is_mapped_to_nobody_is_refused() -> None:
    with pytest.raises(NoPrincipal):
        principal_of(SUBJECT, parse_rules("RULE:^OU=(.*)$/$1/"))


@pytest.mark.parametrize("text", ["RULE:x", "RULE:(/x/", "RULE:a/$7/", "NONSENSE", "DEFAULT x"])
def test_rules_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadRules):
        parse_rules(text)
