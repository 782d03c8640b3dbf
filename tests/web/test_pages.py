"""Pages of an app, by Faust's names; a page of a table's key runs where the key is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import flowstream as fs
from tests.processing.conftest import Kit
from tests.web.conftest import visited
from tests.web.counting import ALL, Words, settled, several


def pages_of(words: Words) -> Words:
    """The pages of the word count."""
    app, counts = words.app, words.counts

    @app.page("/count/{word}/")
    @app.table_route(table=counts, match_info="word")
    async def get_count(web: Any, request: Any, word: str) -> Any:
        assert request.match_info == {"word": word}
        seen = {"X-Auth": request.headers.get("authorization", "")}
        return web.json({word: counts[word], "data": app.settings.data_dir}, headers=seen)

    @app.page("/asked/")
    @app.table_route(table=counts, query_param="word")
    async def asked(web: Any, request: Any) -> Any:
        return web.text(str(counts.get(request.query["word"])))

    @app.page("/send/{word}")
    class Send(fs.View):
        async def post(self, request: Any, word: str) -> Any:
            sent = await words.topic.send(key=word, value=await request.text())
            return self.json({"offset": sent.offset}, status=201)

        async def get(self, request: Any, word: str) -> Any:
            return self.json(await self.app.query("counts").get(word))

    return words


async def test_a_page_of_a_key_runs_where_the_key_is(kit: Kit, name: str) -> None:
    one = pages_of(Words(kit, name, data="a"))
    two = pages_of(Words(kit, name, data="b"))
    await kit.create(one.app)
    async with several(kit, [one, two]) as found:
        sent = await one.send(*ALL)
        for word in ALL:
            assert await one.app.query(one.counts).get(word, after=sent, timeout=20) == 1
        where: list[set[str]] = []
        for _, client in found:
            own = {"Authorization": "of the app"}
            full = [await client.get(f"/count/{word}/", headers=own) for word in ALL]
            assert {each.headers["X-Auth"] for each in full} == {"of the app"}
            assert {each.headers["content-type"] for each in full} == {"application/json"}
            answers = [each.json() for each in full]
            assert [answer[word] for answer, word in zip(answers, ALL, strict=True)] == [1] * 12
            where.append({f"{word} {a['data']}" for a, word in zip(answers, ALL, strict=True)})
            assert (await client.get("/asked/?word=w1")).text == "1"
            # A table's default, as inside of an agent; `get` does not use it.
            assert (await client.get("/count/never/")).json()["never"] == 0
            assert (await client.get("/asked/?word=never")).text == "None"
        # Both workers had each key answered by the same one.
        assert where[0] == where[1]
        assert len({each.split()[1] for each in where[0]}) == 2


async def test_S7_a_request_is_handed_on_as_it_came(kit: Kit, name: str) -> None:
    """A key with a percent sign was another key's at the worker that it was handed on to, and a
    header that is not ASCII was an error there.
    """
    one, two = pages_of(Words(kit, name, data="a")), pages_of(Words(kit, name, data="b"))
    await kit.create(one.app)
    odd = [f"{word}%41 ?{word}#é" for word in ALL]
    async with several(kit, [one, two]) as found:
        sent = await one.send(*odd)
        for word in odd:
            assert await one.app.query(one.counts).get(word, after=sent, timeout=20) == 1
        for _, client in found:
            for word in odd:
                own = [(b"X-Name", "Zoë".encode("latin-1"))]
                answer = await client.get(f"/count/{quote(word)}/", headers=own)
                assert (answer.status_code, answer.json()[word]) == (200, 1)
                answer = await client.get("/asked/", params={"word": word})
                assert answer.text == "1"


async def test_classes_methods_and_plain_sends(kit: Kit, name: str) -> None:
    words = pages_of(Words(kit, name))
    await kit.create(words.app)
    async with visited(kit, words.app) as (_, client):
        answer = await client.post("/send/a", content="a")
        assert (answer.status_code, answer.json()) == (201, {"offset": 0})
        await kit.until(kit.committed(words.app, f"{name}-in", 1))
        assert (await client.get("/send/a")).json() == 1
        assert (await client.put("/send/a")).status_code == 405


async def test_a_page_reads_and_does_not_write(kit: Kit, name: str) -> None:
    words = Words(kit, name)
    app, counts = words.app, words.counts

    @app.page("/write/{word}")
    @app.table_route(counts, match_info="word")
    async def write(web: Any, request: Any, word: str) -> Any:
        counts[word] = 5
        return web.json({})

    @app.page("/anywhere")
    async def anywhere(web: Any, request: Any) -> Any:
        return web.json(counts["a"])

    @app.page("/odd")
    async def odd(web: Any, request: Any) -> Any:
        return "text"

    @app.page("/sorry")
    async def sorry(web: Any, request: Any) -> Any:
        return web.notfound("no such page", page=1)

    @app.page("/html")
    async def html(web: Any, request: Any) -> Any:
        return web.html("<p>hi</p>", headers={"X-A": "b"})

    await kit.create(app)
    async with visited(kit, app) as (worker, client):
        await kit.sees(lambda: len(worker.tasks) == 4)
        answer = await client.get("/write/a")
        assert answer.status_code == 400
        assert "send to the topic" in answer.json()["error"]
        for path in ("/anywhere", "/odd"):
            answer = await client.get(path)
            assert answer.status_code == 500
            told = f"page {path} failed: the worker's log says why"
            assert answer.json() == {"kind": "failed", "error": told}
        answer = await client.get("/sorry")
        assert (answer.status_code, answer.json()["page"]) == (404, 1)
        answer = await client.get("/html")
        assert (answer.text, answer.headers["X-A"]) == ("<p>hi</p>", "b")
        assert answer.headers["content-type"].startswith("text/html")


async def test_while_nobody_owns_the_key_it_is_said_when_to_come_again(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowstream.web.pages.TIMEOUT_S", 1.0)
    one, two = pages_of(Words(kit, name, data="a")), Words(kit, name, data="b", web_port=None)
    await kit.create(one.app)
    async with kit.running(two.app), visited(kit, one.app) as (worker, client):
        await settled(kit, one.app, 4, 2)
        await kit.sees(lambda: len(worker.tasks) == 2)
        answers: dict[int, httpx.Response] = {}
        for word in ALL:
            answer = await client.get(f"/count/{word}/")
            answers.setdefault(answer.status_code, answer)
            if len(answers) == 2:
                break
        assert answers.keys() == {200, 503}
        assert answers[503].headers["Retry-After"] == "1"
        assert "--web-port" in answers[503].json()["error"]


def declared(app: fs.App, path: str) -> None:
    @app.page(path)
    async def nothing(web: Any, request: Any) -> Any: ...


def no_coroutine(app: fs.App) -> None:
    @app.page("/a")
    def nothing(web: Any, request: Any) -> Any: ...


async def test_a_page_of_a_topics_key_runs_where_its_events_go(kit: Kit, name: str) -> None:
    apps = []
    for data in "ab":
        words = Words(kit, name, data=data)
        app, counts = words.app, words.counts

        @app.page("/at/{word}")
        @app.topic_route(words.topic, match_info="word")
        async def at(web: Any, request: Any, word: str, counts: Any = counts) -> Any:
            return web.json([word, counts[word], web.app.settings.data_dir])

        apps.append(words)
    await kit.create(apps[0].app)
    async with several(kit, apps) as found:
        sent = await apps[0].send(*ALL)
        query = apps[0].app.query("counts")
        assert [await query.get(word, after=sent, timeout=20) for word in ALL] == [1] * 12
        answers = []
        for _, client in found:
            answers.append([(await client.get(f"/at/{word}")).json() for word in ALL])
            assert [each[:2] for each in answers[-1]] == [[word, 1] for word in ALL]
        assert answers[0] == answers[1], "both had it answered by the same worker"
        assert len({where for _, _, where in answers[0]}) == 2


async def test_a_page_of_a_topic_that_nobody_reads_is_refused(kit: Kit, name: str) -> None:
    words = Words(kit, name)

    @words.app.page("/at/{word}")
    @words.app.topic_route(words.app.topic(f"{name}-other"), match_info="word")
    async def at(web: Any, request: Any, word: str) -> Any: ...

    with pytest.raises(fs.AppError, match="no agent does"):
        async with visited(kit, words.app):
            raise AssertionError("it serves")


def no_view(app: fs.App) -> None:
    @app.page("/a")
    class Nothing:
        pass


def no_methods(app: fs.App) -> None:
    @app.page("/a")
    class Nothing(fs.View):
        pass


def no_such_name(app: fs.App) -> None:
    @app.page("/a/{word}")
    @app.table_route(app.Table("t", default=int), match_info="key")
    async def nothing(web: Any, request: Any, word: str) -> Any: ...


def no_argument(app: fs.App) -> None:
    @app.page("/a/{word}")
    async def nothing(web: Any, request: Any) -> Any: ...


def no_argument_of_a_method(app: fs.App) -> None:
    @app.page("/a/{word}")
    class Nothing(fs.View):
        async def post(self, request: Any, name: str) -> Any: ...


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (no_argument, r"get is called with \(view, request, word\): .*unexpected .*'word'"),
        (no_argument_of_a_method, r"post is called with \(view, request, word\): missing .*'name'"),
        (lambda app: declared(app, "a"), "begins with '/'"),
        (lambda app: declared(app, "/a/{b:c}"), "holds names as"),
        (lambda app: declared(app, "/metrics"), "the worker itself answers"),
        (lambda app: declared(app, "/tables/x"), "the worker itself answers"),
        (lambda app: [declared(app, "/a"), declared(app, "/a")], "declared twice"),
        (no_coroutine, "must be `async def`"),
        (no_view, "is not a flowstream.View"),
        (no_methods, "answers nothing"),
        (no_such_name, r"the path holds \['word'\]"),
        (lambda app: app.table_route(app.Table("u", default=int)), "say one of"),
        (lambda app: app.table_route("nothing", match_info="a"), "is no table of this app"),
        (lambda app: app.topic_route(app.topic("t")), "topic_route: say one of"),
        (lambda app: app.topic_route("t", match_info="a"), "is no topic of this app"),
        (lambda app: app.topic_route(fs.App("b").topic("t"), match_info="a"), "no topic of this"),
    ],
)
def test_pages_that_cannot_be(declare: Callable[[fs.App], Any], told: str) -> None:
    with pytest.raises(fs.AppError, match=told):
        declare(fs.App("pages"))


async def test_the_root_tells_what_is_there_unless_the_app_has_a_page_there(
    kit: Kit, name: str
) -> None:
    words = pages_of(Words(kit, name))

    @words.app.page("/<b>", name="b & c")
    async def odd(web: Any, request: Any) -> Any:
        return web.text("")

    await kit.create(words.app)
    async with visited(kit, words.app) as (_, client):
        found = (await client.get("/")).json()
        assert found["app"] == words.app.id
        paths = {each["path"] for each in found["paths"]}
        assert paths >= {"/health", "/ready", "/metrics", "/tables", "/tables/counts", "/<b>"}
        assert paths >= words.app.pages.keys()
        for path in ("/health", "/metrics", "/tables", "/tables/counts"):
            assert (await client.get(path)).status_code in (200, 503)
        page = await client.get("/", headers={"Accept": "text/html,*/*"})
        assert page.headers["content-type"].startswith("text/html")
        assert '<a href="/tables/counts">' in page.text
        assert "page b &amp; c" in page.text
        assert "<b>" not in page.text
        assert (await client.get("/", headers={"Host": "elsewhere"})).status_code == 403
        assert (await client.get("/nothing")).json()["kind"] == "missing"


async def test_an_app_s_own_page_is_at_its_root(kit: Kit, name: str) -> None:
    words = Words(kit, name)

    @words.app.page("/")
    async def mine(web: Any, request: Any) -> Any:
        return web.text("mine")

    await kit.create(words.app)
    async with visited(kit, words.app) as (_, client):
        assert (await client.get("/")).text == "mine"
