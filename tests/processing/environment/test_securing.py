"""How an app's connections are secured by its settings."""

from __future__ import annotations

import pytest

from flowstream.processing.environment.securing import security_of
from flowstream.processing.environment.settings import Settings, bootstrap_of, resolve
from flowstream.processing.errors import SettingsError


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
