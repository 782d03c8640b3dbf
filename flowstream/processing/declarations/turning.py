"""Settings of Faust's that are said otherwise than ours: each turns into ours, and is read back.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from flowstream.processing.agents.policies import supervised
from flowstream.processing.environment.credentials import (
    OAuthCredentials,
    SASLCredentials,
    SSLCredentials,
    settings_of,
)
from flowstream.processing.environment.setting_values import OAUTHBEARER
from flowstream.processing.environment.settings import Settings, changed
from flowstream.processing.errors import SettingsError

WEB_PORT = 6066
"""Where Faust's web server listens unless told otherwise."""


class Named(Protocol):
    """What has settings, and a name."""

    id: str
    settings: Settings


class Turned(NamedTuple):
    """What a setting of Faust's is as ours, given what there is already; and the way back."""

    into: Callable[[Any, Named], Mapping[str, Any]]
    back: Callable[[Named], Any]


def app_directory(app: Named) -> Path:
    """Where the state of an app is: its workers' slots, with their tables."""
    return Path(app.settings.data_dir) / "state" / app.id


def _credentials(value: Any, app: Named) -> Mapping[str, Any]:
    del app
    return settings_of(value)


def _credentials_back(app: Named) -> Any:
    is_, context = app.settings, app.settings.ssl_context
    protocol = is_.security_protocol or ""
    if protocol.startswith("SASL") and is_.sasl_mechanism == OAUTHBEARER:
        provider = is_.sasl_oauthbearer_token_provider
        return OAuthCredentials(oauth_cb=provider, ssl_context=context)
    if protocol.startswith("SASL"):
        return SASLCredentials(
            username=is_.sasl_username, password=is_.sasl_password, ssl_context=context,
            mechanism=is_.sasl_mechanism,
        )  # fmt: skip
    return None if context is None else SSLCredentials(context)


def _web_enabled(value: Any, app: Named) -> Mapping[str, Any]:
    if not isinstance(value, bool):
        raise SettingsError(f"web_enabled is True or False, not {value!r}")
    port = app.settings.web_port
    return {"web_port": (WEB_PORT if port is None else port) if value else None}


def _url(value: Any, app: Named) -> Mapping[str, Any]:
    del app
    scheme, found, address = str(value).partition("://")
    if not found or scheme != "http" or not address.strip("/"):
        raise SettingsError(
            f"canonical_url={str(value)!r}: workers ask each other by http://HOST:PORT, or say"
            " web_advertised"
        )
    return {"web_advertised": address.strip("/")}


def _url_back(app: Named) -> str | None:
    address = app.settings.web_advertised
    return None if address is None else f"http://{address}"


def _idle(value: Any, app: Named) -> Mapping[str, Any]:
    del app
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"connections_max_idle_ms is a number of milliseconds, not {value!r}")
    return {"connections_max_idle": value / 1000}


def _tabledir(value: Any, app: Named) -> Mapping[str, Any]:
    there = app_directory(app)
    if Path(value).absolute() != there.absolute():
        raise SettingsError(
            f"tabledir={str(value)!r}: the tables of this app are in {there}, and data_dir= says"
            " where that is"
        )
    return {}


def _supervisor(value: Any, app: Named) -> Mapping[str, Any]:
    del app
    return {"on_error": supervised(value)}


def _ack_exceptions(value: Any, app: Named) -> Mapping[str, Any]:
    if not isinstance(value, bool):
        raise SettingsError(f"stream_ack_exceptions is True or False, not {value!r}")
    passes_over = app.settings.on_error in ("skip", "dead_letter", "park")
    return {} if value is passes_over else {"on_error": "skip" if value else "stop"}


_IDLE = Turned(_idle, lambda app: round(app.settings.connections_max_idle * 1000))

TURNED: Final = {
    "broker_credentials": Turned(_credentials, _credentials_back),
    "web_enabled": Turned(_web_enabled, lambda app: app.settings.web_port is not None),
    "canonical_url": Turned(_url, _url_back),
    "consumer_connections_max_idle_ms": _IDLE,
    "producer_connections_max_idle_ms": _IDLE,
    "agent_supervisor": Turned(_supervisor, lambda app: app.settings.on_error),
    "stream_ack_exceptions": Turned(
        _ack_exceptions, lambda app: app.settings.on_error in ("skip", "dead_letter", "park")
    ),
    "tabledir": Turned(_tabledir, app_directory),
}
"""By Faust's name."""


def turned(name: str, value: Any, app: Named, by: str) -> Settings:
    """The app's settings with one of Faust's, where None says nothing."""
    settings = app.settings
    if value is not None:
        for ours, given in TURNED[name].into(value, app).items():
            settings = changed(settings, ours, given, f"{by}({name}=)")
    return settings
