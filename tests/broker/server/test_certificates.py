"""Certificates and keys in every form that Kafka's PEM settings allow (KIP-651)."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from flowstream.broker.config import SETTINGS, BrokerConfig
from flowstream.broker.security.listeners import ListenerSpec, parse_listeners
from flowstream.broker.server.bootstrap import start
from flowstream.broker.server.tls import TlsContext, TlsError
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from tests.broker.machine import Machine
from tests.broker.server.secured import secured
from tests.broker.server.serving import VERSIONS

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def pem(authority: trustme.CA, password: str = "") -> tuple[str, str]:
    """A private key, encrypted where there is a password, and its chain."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems).decode()
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        hidden = serialization.BestAvailableEncryption(password.encode())
    encoding, format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format, hidden).decode(), chain


def listener(**settings: str) -> ListenerSpec:
    texts = {name.replace("_", "."): value for name, value in settings.items()}
    config = BrokerConfig.of({"listeners": "SSL://localhost:0", **texts})
    return parse_listeners(config, "", 0)[0]


def shakes_hands(authority: trustme.CA, spec: ListenerSpec) -> bool:
    """Whether a client that trusts the authority gets through to the listener."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = TlsContext(spec, "DEFAULT").current().wrap_bio(to_server, to_client, True)
    client = trusting.wrap_bio(to_client, to_server, False, "localhost")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version() is not None and client.getpeercert() is not None


@pytest.mark.parametrize("password", ["", PASSWORD])
@pytest.mark.parametrize("inline", [False, True])
def test_every_form_of_a_certificate(
    tmp_path: Path, authority: trustme.CA, password: str, inline: bool
) -> None:
    key, chain = pem(authority, password)
    settings = {"ssl_keystore_key": key, "ssl_keystore_certificate_chain": chain}
    if not inline:
        (tmp_path / "both.pem").write_text(key + chain)
        settings = {"ssl_keystore_location": str(tmp_path / "both.pem")}
    assert shakes_hands(authority, listener(**settings, ssl_key_password=password))


@pytest.mark.parametrize("password", ["", "wrong"])
def test_X7_a_key_that_cannot_be_opened_is_refused_without_asking(
    authority: trustme.CA, password: str
) -> None:
    key, chain = pem(authority, PASSWORD)
    spec = listener(
        ssl_keystore_key=key, ssl_keystore_certificate_chain=chain, ssl_key_password=password
    )
    with pytest.raises(TlsError, match=r"ssl\.key\.password"):
        TlsContext(spec, "DEFAULT")


async def test_a_certificate_that_cannot_be_read_costs_no_recovery(tmp_path: Path) -> None:
    """The broker had begun, its first listener too: both stayed in the process, half alive."""
    texts = {
        "listeners": "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0",
        "ssl.keystore.location": str(tmp_path / "nowhere.pem"),
    }
    data = tmp_path / "data"
    before = set(threading.enumerate())  # brokers of other tests may still be ending
    with pytest.raises(TlsError, match=r"nowhere\.pem"):
        await start(data, "", 0, BrokerConfig.of(texts), fsync=True, insecure_open=False)
    assert {each.name for each in data.iterdir()} <= {".lock"}
    begun = set(threading.enumerate()) - before
    assert "flowstream-sync" not in {each.name for each in begun}


def test_authorities_as_text(authority: trustme.CA) -> None:
    key, chain = pem(authority)
    both = {"ssl_keystore_key": key, "ssl_keystore_certificate_chain": chain}
    roots = authority.cert_pem.bytes().decode()
    spec = listener(**both, ssl_client_auth="required", ssl_truststore_certificates=roots)
    assert TlsContext(spec, "DEFAULT").current().cert_store_stats()["x509_ca"] == 1
    bad = listener(**both, ssl_client_auth="required", ssl_truststore_certificates="nonsense")
    with pytest.raises(TlsError, match=r"ssl\.truststore\.certificates"):
        TlsContext(bad, "DEFAULT")


def test_X5_keys_and_passwords_are_shown_nowhere(authority: trustme.CA) -> None:
    key, chain = pem(authority)
    texts = {
        "listeners": "SSL://localhost:0",
        "ssl.keystore.key": key,
        "ssl.keystore.certificate.chain": chain,
        "listener.name.ssl.ssl.key.password": PASSWORD,
        "ssl.key.password": PASSWORD,
    }
    config = BrokerConfig.of(texts)
    shown = f"{config!r} {parse_listeners(config, '', 0)} {SETTINGS}"
    assert PASSWORD not in shown
    assert "PRIVATE KEY" not in shown

    machine = Machine(ssl_keystore_key=key, ssl_key_password=PASSWORD)
    resource = DescribeConfigsResource(
        resource_type=4,
        resource_name="0",
        configuration_keys=("ssl.keystore.key", "ssl.key.password"),
    )
    request = DescribeConfigsRequest(resources=(resource,), include_synonyms=True)
    told = machine.ask(request, 4).results[0].configs
    assert [(each.value, each.is_sensitive, each.config_type) for each in told] == [
        (None, True, 9)
    ] * 2
    assert PASSWORD not in repr(told)
    assert "PRIVATE" not in repr(told)


async def test_a_listener_with_a_key_of_its_own_and_a_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with secured(tmp_path) as broker:
        broker.server.reload()
        loaded = [each for each in caplog.messages if "certificates loaded again" in each]
        assert len(loaded) == 2, "of each listener with TLS"
        broker.keystore.write_text("nonsense")
        broker.server.reload()
        assert "keeps its old certificates" in caplog.text
        client = await broker.client("SSL")
        assert (await client.ask(18, 3, VERSIONS)).error_code == 0
        await client.close()
