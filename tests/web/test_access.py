"""Who may see a worker's pages, and from where."""

from __future__ import annotations

import pytest

import flowstream as fs
from flowstream.processing.environment.settings import Settings
from flowstream.web.guard import check_binding, refusal
from tests.processing.conftest import Kit
from tests.web.conftest import visited


async def test_X5_X7_a_token_is_asked_for_and_never_told(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSTREAM_WEB_TOKEN", "s3cret-of-ours")
    app = kit.app(name, web_port=0)
    assert "s3cret" not in repr(app.settings)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(words)
    async def nothing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with visited(kit, app) as (_, client):
        for wrong in ({}, {"Authorization": "Bearer s3cret"}, {"Authorization": "s3cret-of-ours"}):
            answer = await client.get("/metrics", headers=wrong)
            assert answer.status_code == 401
            assert "s3cret" not in answer.text
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await client.get("/nowhere")).status_code == 401
        right = {"Authorization": "Bearer s3cret-of-ours"}
        answer = await client.get("/metrics", headers=right)
        assert answer.status_code == 200
        assert "s3cret" not in answer.text
        assert (await client.get("/nowhere", headers=right)).status_code == 404
        # A load balancer has no token; it learns yes or no.
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert "reasons" in (await client.get("/health", headers=right)).json()


def test_X7_other_machines_need_a_token_or_an_explicit_word() -> None:
    with pytest.raises(fs.SettingsError, match="FLOWSTREAM_WEB_TOKEN"):
        check_binding(Settings(web_host="0.0.0.0"))
    for fine in (
        Settings(),
        Settings(web_host="localhost"),
        Settings(web_host="::1"),
        Settings(web_host="0.0.0.0", web_token="t"),
        Settings(web_host="0.0.0.0", web_open=True),
    ):
        check_binding(fine)


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        (Settings(), "127.0.0.1:6066", None),
        (Settings(), "localhost", None),
        (Settings(), "[::1]:6066", None),
        (Settings(), "evil.example", 403),
        (Settings(), "", 403),
        (Settings(web_open=True), "evil.example:6066", 403),
        (Settings(web_host="box", web_open=True), "anything", None),
        (Settings(web_token="t"), "localhost", 401),
    ],
)
def test_X7_a_browser_cannot_be_made_to_visit(
    settings: Settings, host: str, status: int | None
) -> None:
    refused = refusal(settings, {"host": host})
    assert (None if refused is None else refused.status) == status
