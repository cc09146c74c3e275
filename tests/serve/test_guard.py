"""Who may ask the server, how much, and for how long."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hpo_plugins.serve import guard
from hpo_plugins.serve.guard import Guard

TOKEN = "correct horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def echo(request):
    body = await request.body()
    return PlainTextResponse(f"data {len(body)}")


APP = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])


def ask(method="GET", path="/", *, app=None, base="http://127.0.0.1:7777", client=("10.0.0.1", 1), **arguments):
    """Return the answer to one request."""

    async def asked():
        transport = httpx.ASGITransport(app or Guard(APP, TOKEN), client=client, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base) as browser:
            return await browser.request(method, path, **arguments)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Cookie": "hpo_plugins=x; ="},
        {"Cookie": TOKEN},
    ],
)
def test_without_the_token_no_byte_of_data_is_sent(headers):
    answer = ask(headers=headers)
    assert answer.status_code == 401
    assert "data" not in answer.text
    assert TOKEN not in answer.text


def test_token_is_accepted_in_the_header():
    assert ask("POST", content=b"123", headers=BEARER).text == "data 3"


def test_browser_opens_the_address_with_the_token_once_and_keeps_a_cookie():
    first = ask(path="/study?token=correct%20horse&name=a")
    assert (first.status_code, first.headers["location"]) == (303, "/study?name=a")
    cookie = first.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "horse" not in cookie
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    kept = {"Cookie": cookie.partition(";")[0]}
    assert ask(headers=kept).text == "data 0"
    assert ask(headers=kept, app=Guard(APP, "another token")).status_code == 401
    assert ask("POST", path="/?token=correct%20horse").status_code == 401
    assert (
        ask(path="http://127.0.0.1:7777//evil.example/?token=correct%20horse").headers["location"] == "/evil.example/"
    )


def test_cookie_is_secure_where_the_address_is():
    assert "Secure" in ask(path="/?token=correct%20horse", base="https://127.0.0.1").headers["set-cookie"]
    assert "Secure" not in ask(path="/?token=correct%20horse").headers["set-cookie"]


@pytest.mark.parametrize("place", ["http://evil.example", "http://evil.example:7777", "null", "http://127.0.0.1:7778"])
def test_pages_of_other_sites_cannot_ask(place):
    cookie = ask(path="/?token=correct%20horse").headers["set-cookie"].partition(";")[0]
    for headers in ({"Cookie": cookie}, BEARER):
        answer = ask("POST", headers={**headers, "Origin": place})
        assert (answer.status_code, "data" in answer.text) == (403, False)
    own = {"Cookie": cookie, "Origin": "http://127.0.0.1:7777"}
    assert ask("POST", headers=own).text == "data 0"


def test_name_that_was_rebound_to_this_address_is_refused():
    cookie = ask(path="/?token=correct%20horse").headers["set-cookie"].partition(";")[0]
    refused = ask(headers={"Cookie": cookie}, base="http://evil.example:7777")
    assert refused.status_code == 421
    assert "--allowed-host evil.example" in refused.text
    known = Guard(APP, TOKEN, hosts=["evil.example"])
    assert ask(headers={"Cookie": cookie}, base="http://evil.example:7777", app=known).text == "data 0"
    assert ask(headers=BEARER, base="http://head.cluster.example:7777").text == "data 0"  # sends no cookie by itself


def test_large_bodies_are_refused_whether_or_not_they_say_so():
    async def parts():
        for _ in range(11):
            yield b"x" * 10

    small = Guard(APP, TOKEN, max_body=100)
    assert ask("POST", content=b"x" * 100, headers=BEARER, app=small).text == "data 100"
    assert ask("POST", content=b"x" * 101, headers=BEARER, app=small).status_code == 413
    assert ask("POST", content=parts(), headers=BEARER, app=small).status_code == 413
    wrong = {**BEARER, "Content-Length": "-5"}
    assert ask("POST", content=b"", headers=wrong, app=small).status_code == 413


def test_body_that_never_ends_is_refused():
    async def never():
        yield b"x"
        await asyncio.Event().wait()

    assert ask("POST", content=never(), headers=BEARER, app=Guard(APP, TOKEN, body_seconds=0.05)).status_code == 408


def test_client_that_takes_nothing_is_dropped():
    async def talk():
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            await asyncio.Event().wait()

        scope = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http",
            "headers": [(b"authorization", BEARER["Authorization"].encode()), (b"host", b"127.0.0.1")],
        }  # fmt: skip
        with pytest.raises(TimeoutError):
            await Guard(APP, TOKEN, send_seconds=0.05)(scope, receive, send)

    asyncio.run(talk())


def test_token_cannot_be_guessed_fast():
    guarded = Guard(APP, TOKEN)
    statuses = [ask(app=guarded).status_code for _ in range(guard.MAX_FAILURES + 1)]
    assert statuses == [401] * guard.MAX_FAILURES + [429]
    assert ask(app=guarded, path="/?token=correct%20horse").status_code == 429
    assert ask(app=guarded, headers=BEARER).status_code == 200  # a client of the same host that knows it
    assert ask(app=guarded, client=("10.0.0.2", 1)).status_code == 401


def test_answers_say_what_browsers_must_not_do():
    for answer in (ask(), ask(headers=BEARER), ask(path="/?token=correct%20horse")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_requests_of_an_address_are_limited_and_those_of_others_are_not(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("hpo_plugins.serve.guard.time.monotonic", lambda: now[0])
    guard = Guard(APP, TOKEN, max_rate=10)
    assert [ask(app=guard, headers=BEARER).status_code for _ in range(21)] == [200] * 20 + [429]
    now[0] += 0.25
    assert [ask(app=guard, headers=BEARER).status_code for _ in range(3)] == [200, 200, 429]
    assert ask(app=guard, headers=BEARER, client=("10.0.0.2", 1)).status_code == 200
