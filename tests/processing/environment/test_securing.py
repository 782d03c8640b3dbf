"""How an app's connections are secured by its settings."""

from __future__ import annotations

import pytest

from flowstream.processing.environment.securing import security_of
from flowstream.processing.environment.settings import Settings, bootstrap_of, resolve
from flowstream.processing.errors import SettingsError
from flowstream.transport.tokens import TokenEndpoint, TokenFile


def settings(**environment: str) -> Settings:
    return resolve({}, environment={f"FLOWSTREAM_{k.upper()}": v for k, v in environment.items()})


def test_plain_by_default() -> None:
    security = security_of(settings(broker="kafka://h:1"))
    assert (security.protocol, security.ssl_context) == ("PLAINTEXT", None)


@pytest.mark.parametrize("scheme", ["ssl", "sasl_plaintext", "sasl_ssl", "SASL_SSL"])
def test_the_url_says_the_protocol(scheme: str) -> None:
    broker = f"kafka+{scheme}://h:1,i:2"
    assert bootstrap_of(broker) == "h:1,i:2"
    security = security_of(settings(broker=broker, sasl_username="ada", sasl_password="lace"))
    assert security.protocol == scheme.upper()
    assert (security.ssl_context is not None) == ("ssl" in scheme.lower())


def test_so_does_a_setting_but_they_must_agree() -> None:
    given = settings(
        broker="kafka://h:1",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="ada",
        sasl_password="lace",
    )
    security = security_of(given)
    assert (security.protocol, security.sasl_mechanism) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    with pytest.raises(SettingsError, match="set one of them"):
        security_of(given, "kafka+ssl://h:1")


def test_the_embedded_broker_is_plain() -> None:
    given = settings(security_protocol="SASL_SSL", sasl_username="ada", sasl_password="lace")
    assert security_of(given).protocol == "PLAINTEXT"


def test_X5_the_password_is_in_no_repr_and_no_error() -> None:
    given = settings(broker="kafka+sasl_plaintext://h:1", sasl_username="ada")
    with pytest.raises(SettingsError, match="FLOWSTREAM_SASL_PASSWORD"):
        security_of(given)
    given = settings(sasl_username="ada", sasl_password="lace")
    security = security_of(given, "kafka+sasl_plaintext://h:1")
    assert security.sasl_password == "lace"
    assert "lace" not in f"{given!r} {security!r}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("security_protocol", "TLS"),
        ("sasl_mechanism", "GSSAPI"),
        ("broker", "kafka+tls://h:1"),
        ("ssl_cafile", "/nonexistent"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: str) -> None:
    def use() -> None:
        given = settings(**{name: value})
        bootstrap_of(given.broker or "kafka+ssl://h:1")
        security_of(given, "kafka+ssl://h:1")

    with pytest.raises(SettingsError):
        use()


OAUTH = {"sasl_mechanism": "OAUTHBEARER", "broker": "kafka+sasl_plaintext://h:1"}
ISSUER = {"sasl_oauthbearer_token_endpoint_url": "https://issuer/token"}
CLIENT = {"sasl_oauthbearer_client_id": "shop", "sasl_oauthbearer_client_secret": "hunter2"}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"sasl_oauthbearer_token_endpoint_url": "file:///run/token%20s"}, TokenFile),
        ({**ISSUER, **CLIENT}, TokenEndpoint),
        ({**ISSUER, **CLIENT, "sasl_oauthbearer_scope": "kafka"}, TokenEndpoint),
        (
            {**CLIENT, "sasl_oauthbearer_token_endpoint_url": "http://localhost:1/token"},
            TokenEndpoint,
        ),
    ],
)
def test_tokens_come_from_a_file_or_an_issuer(given: dict[str, str], kind: type) -> None:
    security = security_of(settings(**OAUTH, **given))
    assert (security.sasl_mechanism, security.sasl_password) == ("OAUTHBEARER", None)
    assert isinstance(security.tokens, kind)
    assert "hunter2" not in f"{security!r} {settings(**OAUTH, **given)!r}"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "file:///path/to/token"),
        (ISSUER, "FLOWSTREAM_SASL_OAUTHBEARER_CLIENT_ID"),
        ({**ISSUER, "sasl_oauthbearer_client_id": "shop"}, "CLIENT_SECRET"),
        (
            {**CLIENT, "sasl_oauthbearer_token_endpoint_url": "http://issuer/token"},
            "loopback alone",
        ),
        ({**CLIENT, "sasl_oauthbearer_token_endpoint_url": "file:///token"}, "leave them out"),
        ({"sasl_oauthbearer_token_endpoint_url": "file://elsewhere/token"}, "file:///path"),
        ({**ISSUER, **CLIENT, "ssl_cafile": "/nonexistent"}, "ssl_cafile"),
    ],
)
def test_X5_X7_what_gives_no_token_is_refused_with_the_remedy(
    given: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        security_of(settings(**OAUTH, **given))
    assert "hunter2" not in str(caught.value)
