"""TLS under a connection (KIP-651: PEM files), apart so that plain connections keep their speed.

Lives here: contexts that follow their files, a socket that encrypts, and what a connection does
differently over one: the handshake, and bytes that were decrypted but not yet taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flowstream.broker.doors import Buffer
from flowstream.broker.security.listeners import ListenerSpec
from flowstream.broker.security.principals import (
    MappingRule,
    NoPrincipal,
    parse_rules,
    principal_of,
)
from flowstream.broker.server.connection import Connection
from flowstream.broker.server.turns import Turns
from flowstream.broker.types import ConnectionId, Session
from flowstream.errors import FlowstreamError
from flowstream.sparing import SparingLog

log = logging.getLogger("flowstream.broker")

_VERIFY = {
    "none": ssl.CERT_NONE,
    "requested": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

QUIET_SECONDS = 5.0
"""Between two lines about handshakes that failed: strangers, who cause them, come again (X4)."""


class TlsError(FlowstreamError):
    """A listener's certificate, key or authorities cannot be used; the message names the file."""


class TlsContext:
    """The TLS settings of one listener. A changed file counts from the next handshake on."""

    def __init__(self, spec: ListenerSpec, rules: str) -> None:
        """`rules` are `ssl.principal.mapping.rules`. Raises TlsError."""
        self.rules = parse_rules(rules)
        """From a client's certificate to its principal."""
        self.failures = SparingLog(log, QUIET_SECONDS)
        self._spec = spec
        self._paths = [path for path in (spec.keystore, spec.truststore) if path]
        self._seen = self._stamps()
        self._context = self._load()

    def current(self) -> ssl.SSLContext:
        """The context for a new connection. Bad files leave the old one in force."""
        if self._stamps() != self._seen:
            self.reload()
        return self._context

    def reload(self) -> None:
        """Load the files now, whether they changed or not."""
        self._seen = self._stamps()
        try:
            self._context = self._load()
            log.warning("listener %s: certificates loaded again", self._spec.name)
        except TlsError as error:
            log.error("listener %s keeps its old certificates: %s", self._spec.name, error)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]

    def _load(self) -> ssl.SSLContext:
        spec = self._spec
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        versions = sorted(_VERSIONS[name] for name in spec.tls_versions) or list(_VERSIONS.values())
        context.minimum_version, context.maximum_version = versions[0], versions[-1]
        context.verify_mode = _VERIFY[spec.client_auth]
        _load_chain(context, spec)
        if spec.client_auth != "none":
            _load_authorities(context, spec)
        return context


def _load_chain(context: ssl.SSLContext, spec: ListenerSpec) -> None:
    try:
        # Without a password OpenSSL would ask the terminal for one.
        if spec.keystore:
            context.load_cert_chain(spec.keystore, password=spec.key_password)
        else:
            with as_file(f"{spec.key_pem.strip()}\n{spec.chain_pem.strip()}\n") as path:
                context.load_cert_chain(path, password=spec.key_password)
    except (OSError, ValueError) as error:
        where = f"ssl.keystore.location {spec.keystore}" if spec.keystore else "ssl.keystore.key"
        raise TlsError(
            f"{where}: {error}; a private key (if it is encrypted, with its ssl.key.password) and"
            " its certificate chain are expected, as PEM"
        ) from error


def _load_authorities(context: ssl.SSLContext, spec: ListenerSpec) -> None:
    try:
        if spec.truststore:
            context.load_verify_locations(spec.truststore)
        else:
            context.load_verify_locations(cadata=spec.truststore_pem)
    except (OSError, ValueError) as error:
        where = f"ssl.truststore.location {spec.truststore}"
        if not spec.truststore:
            where = "ssl.truststore.certificates"
        raise TlsError(f"{where}: {error}; certificates are expected, as PEM") from error


@contextmanager
def as_file(pem: str) -> Iterator[str]:
    """A file that holds `pem` while OpenSSL, which takes nothing else, reads it. In memory where
    the system has such files, else readable by its owner only and gone afterwards (X5).
    """
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("pem"), "w", encoding="utf-8") as file:
            file.write(pem)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".pem") as named:
            named.write(pem)
            named.flush()
            yield named.name


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class TlsSocket:
    """A socket that encrypts, with the manners of a plain one that never waits."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._ssl = context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._ssl.fileno()

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises SSLWantReadError and SSLWantWriteError."""
        self._ssl.do_handshake()

    def subject(self) -> Sequence[Sequence[tuple[str, str]]] | None:
        """The subject of the client's certificate, if it showed one."""
        certificate = self._ssl.getpeercert()
        if not certificate:
            return None
        subject: Sequence[Sequence[tuple[str, str]]] = certificate["subject"]  # type: ignore[assignment]
        return subject

    def pending(self) -> int:
        """Bytes that are decrypted already: no event will tell of them."""
        return self._ssl.pending()

    def recv_into(self, buffer: memoryview, /) -> int:
        """Bytes received; 0 at the end."""
        try:
            return self._ssl.recv_into(buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def sendmsg(self, buffers: list[Buffer], /) -> int:
        """Bytes sent, of the first buffer."""
        try:
            return self._ssl.send(buffers[0])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def close(self) -> None:
        """Close at once."""
        self._ssl.close()


class TlsConnection(Connection):
    """A connection over TLS: nothing is parsed before the handshake is done and its client, if it
    shows a certificate, is somebody.
    """

    LAYER_BYTES = 2 * 17 * 1024
    """OpenSSL's buffers of one record each way; it lets go of them when they are empty."""

    __slots__ = ("_failures", "_rules", "_shaken", "_tls")

    def __init__(
        self,
        id: ConnectionId,
        sock: TlsSocket,
        host: str,
        turns: Turns,
        loop: asyncio.AbstractEventLoop,
        max_frame: int,
        session: Session,
        *,
        logged_in: bool,
        rules: Sequence[MappingRule],
        failures: SparingLog,
    ) -> None:
        super().__init__(id, sock, host, turns, loop, max_frame, session, logged_in=logged_in)
        self._tls = sock
        self._rules = rules
        self._failures = failures
        self._shaken = False

    @property
    def established(self) -> bool:
        """Whether the handshake is done, and the login where there is one."""
        return self._shaken and self.logged_in

    def _readable(self) -> None:
        if self.closed or not (self._shaken or self._shake()):
            return
        super()._readable()
        self._take_pending()

    def _resume(self) -> None:
        super()._resume()
        self._take_pending()

    def _take_pending(self) -> None:
        if not self.closed and self._reading and self._tls.pending():
            self._loop.call_soon(self._readable)

    def _shake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        self._loop.remove_writer(self._tls.fileno())
        try:
            self._tls.do_handshake()
            subject = self._tls.subject()
            if subject is not None and self.logged_in:
                self.session = self.session._replace(principal=principal_of(subject, self._rules))
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._loop.add_writer(self._tls.fileno(), self._readable)
            return False
        except (OSError, NoPrincipal) as error:
            text = f"connection from {self.host} ends: TLS handshake failed: {error}"
            self._failures.warn(text, self._loop.time(), self._loop.call_later)
            self.close(f"TLS handshake failed: {error}")
            return False
        self._shaken = True
        return True
