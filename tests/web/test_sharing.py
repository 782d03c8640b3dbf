"""What pages of other origins may do with an app's pages."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
import pytest

import flowstream as fs
from flowstream.web.app import application
from flowstream.web.pages import Pages

SHOP, BANK = "https://shop.example", "https://bank.example"


class ResourceOptions(NamedTuple):
    """As Faust has them."""

    allow_credentials: bool = False
    expose_headers: Any = ()
    allow_headers: Any = ()
    max_age: int | None = None
    allow_methods: Any = None


def client_of(**options: Any) -> httpx.AsyncClient:
    app = fs.App("sharing", broker="kafka://127.0.0.1:1")
    for name, value in options.items():
        setattr(app.conf, name, value)

    @app.page("/count/{word}", cors_options={SHOP: ResourceOptions(True, ["X-N"], "*", 60)})
    async def count(web: Any, request: Any, word: str) -> Any:
        del request
        return web.text(word)

    @app.page("/plain")
    async def plain(web: Any, request: Any) -> Any:
        del request
        return web.text("plain")

    @app.page("/do", cors_options={SHOP: ResourceOptions()})
    class Do(fs.View):
        async def post(self, request: Any) -> Any:
            del request
            return self.text("done")

    worker = fs.Worker(app, "127.0.0.1:1")
    pages: Any = Pages(worker, None, None)  # type: ignore[arg-type]
    inner = httpx.ASGITransport(application(worker, pages.routes()))
    return httpx.AsyncClient(transport=inner, base_url="http://127.0.0.1")


def asks(origin: str, method: str = "GET") -> dict[str, str]:
    """What a browser sends beforehand."""
    return {
        "Origin": origin, "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization",
    }  # fmt: skip


async def test_a_page_says_who_may_use_it() -> None:
    async with client_of(web_token="secret") as client:
        asked = await client.options("/count/a", headers=asks(SHOP))
        assert asked.status_code == 200  # without the token
        assert asked.headers["access-control-allow-origin"] == SHOP
        assert asked.headers["access-control-allow-methods"] == "GET"
        assert asked.headers["access-control-allow-headers"] == "authorization"
        assert asked.headers["access-control-max-age"] == "60"
        assert (await client.options("/count/a", headers=asks(SHOP, "POST"))).status_code == 400
        got = await client.get(
            "/count/a", headers={"Origin": SHOP, "Authorization": "Bearer secret"}
        )
        assert (got.status_code, got.text) == (200, "a")
        assert got.headers["access-control-expose-headers"] == "X-N"
        assert got.headers["access-control-allow-credentials"] == "true"
        # The guard stays: sharing lets nobody in.
        assert (await client.get("/count/a", headers={"Origin": SHOP})).status_code == 401
        for path, origin in (("/count/a", BANK), ("/plain", SHOP), ("/metrics", SHOP)):
            asked = await client.options(path, headers=asks(origin))
            assert asked.status_code == 401
            assert "access-control-allow-origin" not in asked.headers


async def test_the_setting_is_of_all_pages_and_of_nothing_else() -> None:
    any_origin = {"*": {"allow_methods": ["POST"]}, SHOP: {"allow_methods": "*"}}
    async with client_of(web_cors_options=any_origin) as client:
        got = await client.get("/plain", headers={"Origin": BANK})
        assert got.headers["access-control-allow-origin"] == "*"
        asked = await client.options("/plain", headers=asks(BANK, "POST"))
        assert asked.headers["access-control-allow-methods"] == "POST"
        asked = await client.options("/count/a", headers=asks(SHOP))
        assert asked.headers["access-control-allow-methods"] == "GET"  # the page's own
        own = await client.get("/metrics", headers={"Origin": BANK})
        assert "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("*", "a dict by origin"),
        ({"shop.example": {}}, "is no origin"),
        ({SHOP + "/path": {}}, "is no origin"),
        ({SHOP: None}, "has a dict of"),
        ({SHOP: {"allow": True}}, "allow: there are allow_credentials"),
        ({SHOP: {"allow_headers": "x"}}, "is a list of texts"),
        ({SHOP: {"max_age": -1}}, "max_age is a number"),
        ({SHOP: {"allow_credentials": 1}}, "is True or False"),
    ],
)
def test_what_cannot_be_shared_is_refused(given: Any, told: str) -> None:
    app = fs.App("sharing")
    with pytest.raises(fs.AppError, match=told):
        app.page("/", cors_options=given)
    with pytest.raises(fs.SettingsError, match="web_cors_options"):
        fs.App("sharing", web_cors_options=given)


@pytest.mark.parametrize(
    ("options", "site", "origin", "status"),
    [
        ({}, "cross-site", BANK, 403),
        ({}, "cross-site", "null", 403),
        ({}, "cross-site", SHOP, 200),
        ({}, "same-site", BANK, 200),
        ({}, "same-origin", BANK, 200),
        ({}, None, None, 200),
        ({}, None, BANK, 403),
        ({}, None, "null", 403),
        ({}, None, SHOP, 200),
        ({}, None, "http://127.0.0.1:8080", 200),
        ({"web_open": True, "web_host": "0.0.0.0"}, "cross-site", BANK, 403),
        ({"web_open": True, "web_host": "0.0.0.0"}, None, BANK, 403),
        ({"web_token": "secret"}, "cross-site", BANK, 200),
    ],
)
async def test_X7_a_form_of_another_site_does_nothing_here(
    options: dict[str, Any], site: str | None, origin: str | None, status: int
) -> None:
    """A browser sends it without asking: whoever visited such a page ran a page of the app. It
    names the site on a connection that it trusts, the origin also on others.
    """
    said = {"Sec-Fetch-Site": site, "Origin": origin, "Authorization": "Bearer secret"}
    headers = {name: value for name, value in said.items() if value is not None}
    async with client_of(**options) as client:
        assert (await client.post("/do", headers=headers)).status_code == status
        assert (await client.get("/plain", headers=headers)).status_code == 200


async def test_a_form_that_another_worker_has_sent_on_was_looked_at_there() -> None:
    """Its page's origin is that worker, and no form of another site can say that it was."""
    said = {"Origin": "http://other-worker:6066", "X-Flowstream-Routed": "1"}
    async with client_of(web_open=True, web_host="0.0.0.0") as client:
        assert (await client.post("/do", headers=said)).status_code == 200
