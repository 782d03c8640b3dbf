"""Who may visit a worker's web server: by token, and by the name that the visitor called it.

Pure. On loopback without a token every local process may read. A browser may not be made to: a page
from elsewhere that resolves its own name to 127.0.0.1 sends that name as Host, and is refused; and
one that has a form sent here, which it cannot read the answer of, is by its Sec-Fetch-Site, or its
Origin.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import SettingsError

PUBLIC = ("/health", "/ready")
"""Without a token these answer yes or no, and no reasons: a load balancer has no token."""

ROUTED = "x-flowstream-routed"
"""Another worker has sent this request here: it is answered here or nowhere."""
LOOKING = ("GET", "HEAD", "OPTIONS")
FORGED = (
    "a page of another site may look here and do nothing else: let its origin in"
    " (`app.page(cors_options=)`, `App(web_cors_options=)`), or set a web_token"
)


class Refusal(NamedTuple):
    """A status, and why."""

    status: int
    reason: str


def check_binding(settings: Settings) -> None:
    """SettingsError when the server would be open to the network without anybody's wish (X7)."""
    if is_loopback(settings.web_host) or settings.web_token is not None or settings.web_open:
        return
    raise SettingsError(
        f"web_host={settings.web_host!r} lets other machines read this worker's tables: set a token"
        " that visitors must bring (FLOWSTREAM_WEB_TOKEN), or say web_open=true to let in everyone"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(settings: Settings, headers: Mapping[str, str]) -> Refusal | None:
    """Why a visitor with these headers may not come in; None when it may."""
    if settings.web_token is not None:
        if has_token(settings.web_token, headers.get("authorization", "")):
            return None
        return Refusal(401, "bring `Authorization: Bearer TOKEN`, the app's web_token")
    if settings.web_open and not is_loopback(settings.web_host):
        return None
    name = host_of(headers.get("host", ""))
    if is_loopback(name) or name == settings.web_host:
        return None
    return Refusal(
        403, f"this server is called {settings.web_host} or localhost, not {name[:80]!r}"
    )


def is_forged(settings: Settings, method: str, headers: Mapping[str, str]) -> bool:
    """Whether a page from elsewhere has a browser do something here, and not only look. Browsers
    say so where they trust the connection, that is not on HTTP to another machine; which page it is
    they always say. A form cannot say `ROUTED`, and who hands a request on has asked this already.
    """
    if settings.web_token is not None or method in LOOKING or ROUTED in headers:
        return False
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None or origin is None:
        return site == "cross-site"
    return host_of(origin.partition("://")[2]).lower() != host_of(headers.get("host", "")).lower()


def has_token(token: str, authorization: str) -> bool:
    """Whether a header bears the token; takes as long for every wrong one."""
    scheme, _, given = authorization.partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    return right and scheme.lower() == "bearer"


def host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
