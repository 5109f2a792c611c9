from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from ragqa.errors import UsageError
from ragqa.service.warm import WarmLibrary
from ragqa.web.access import COOKIE, Access, RateLimit, is_loopback
from ragqa.web.app import Settings, make_app
from ragqa.web.guard import GUESSES, MOST_BODY
from tests.web.conftest import HERE, QUESTION

TOKEN = "correct horse battery staple"
ASKED = {"question": QUESTION, "config": "fts"}
Start = Callable[..., TestClient]


@pytest.fixture
def start(engine: WarmLibrary) -> Start:
    def make(base: str = HERE, **settings: object) -> TestClient:
        return TestClient(make_app(engine, Settings(**settings)), base_url=base, follow_redirects=False)  # type: ignore[arg-type]

    return make


def test_every_response_has_a_policy_that_runs_nothing_of_others(client: TestClient) -> None:
    for path in ("/", "/corpus", "/api/status", "/nowhere", "/static/app.js", "/openapi.json"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("host", ["localhost:8100", "127.0.0.1", "[::1]:8100", "LOCALHOST"])
def test_names_of_this_machine_are_hosts(client: TestClient, host: str) -> None:
    assert client.get("/api/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8100", "192.168.1.5", "", "[::2]"])
def test_a_name_bound_to_this_machine_by_another_site_is_refused(client: TestClient, host: str) -> None:
    response = client.get("/api/status", headers={"host": host})
    assert response.status_code == 400
    assert "not known here" in response.json()["error"]


def test_the_host_that_was_given_is_a_host(start: Start) -> None:
    client = start(host="10.0.0.7", names=("notes.lan",), token=TOKEN)
    for host, status in (("10.0.0.7:8100", 303), ("Notes.LAN", 303), ("10.0.0.8", 400)):
        assert client.get("/", headers={"host": host}).status_code == status
    everywhere = start(host="0.0.0.0", token=TOKEN)
    for host, status in (("10.0.0.8", 303), ("[fe80::1]:1", 303), ("evil.example", 400)):
        assert everywhere.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": HERE},
    ],
)
def test_what_another_site_sends_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    for path, body in (("/api/search", {"json": ASKED}), ("/", {"data": ASKED}), ("/login", {"data": {}})):
        assert client.post(path, headers=headers, **body).status_code == 403  # type: ignore[arg-type]


def test_what_the_page_itself_sends_is_served(client: TestClient) -> None:
    headers = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert client.post("/api/search", json=ASKED, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_the_api_takes_json_alone(client: TestClient, kind: str) -> None:
    response = client.post("/api/search", content=b'{"question": "a"}', headers={"content-type": kind})
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]


def test_forms_take_forms_alone(client: TestClient) -> None:
    assert client.post("/", json=ASKED).status_code == 415


def test_a_long_body_is_refused_whether_or_not_it_says_how_long_it_is(client: TestClient) -> None:
    json = {"content-type": "application/json"}
    assert client.post("/api/search", content=b"x" * (MOST_BODY + 1), headers=json).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BODY // 1000 + 1):
            yield b"x" * 1000

    assert client.post("/api/search", content=pieces(), headers=json).status_code == 413


def test_nothing_is_written_by_get(client: TestClient) -> None:
    for path in ("/ask", "/logout", "/api/ask", "/api/search", "/api/explain"):
        assert client.get(path).status_code == 405


def test_an_address_that_asks_too_often_waits(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock stands still, so that the time to wait is known.
    monkeypatch.setattr(RateLimit.__init__, "__defaults__", (lambda: 1000.0,))
    client = start(per_minute=3)
    assert [client.get("/api/status").status_code for _ in range(3)] == [200] * 3
    response = client.get("/api/status")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "20"
    assert "try again in 20 seconds" in response.json()["error"]
    assert client.get("/static/app.css").status_code == 200


def test_a_limit_fills_up_again_and_is_each_addresss_own() -> None:
    now = [0.0]
    limit = RateLimit(60, lambda: now[0])
    assert [limit.take("a") for _ in range(61)] == [0] * 60 + [1]
    assert limit.take("b") == 0
    now[0] = 2.0
    assert [limit.take("a") for _ in range(3)] == [0, 0, 1]
    # Who waits for 19.3 seconds is told 20: after 19 it would be refused again.
    slow = RateLimit(3, lambda: now[0])
    assert [slow.take("a") for _ in range(3)] == [0] * 3
    now[0] += 0.7
    assert slow.take("a") == 20


def test_nobody_comes_in_without_the_token(start: Start) -> None:
    client = start(token=TOKEN)
    response = client.get("/api/status")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    for path in ("/", "/corpus", "/document?id=coffee.md", "/passage?question=a&id=b", "/runs", "/nowhere"):
        response = client.get(path)
        assert (response.status_code, response.headers["location"]) == (303, "/login")
    assert client.get("/openapi.json").status_code == 401
    assert client.post("/", data=ASKED).status_code == 303
    assert client.get("/login").status_code == 200
    assert client.get("/static/app.css").status_code == 200


def test_the_token_comes_in_by_its_header_and_by_no_url(start: Start) -> None:
    client = start(token=TOKEN)
    header = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/status", headers=header).status_code == 200
    assert client.get("/api/status", params={"token": TOKEN}).status_code == 401
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", "Bearer caf\u00e9".encode("latin-1")):
        assert client.get("/api/status", headers={"authorization": wrong}).status_code == 401


def test_an_odd_cookie_of_another_program_spoils_no_session(start: Start) -> None:
    client = start(token=TOKEN)
    session = client.post("/login", data={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    for odd in ('prefs={"a": 1}', "a b=c", "=", "\u00e9=1"):
        for cookies in (f"{odd}; {session}", f"{session}; {odd}"):
            headers = {"cookie": cookies.encode("latin-1")}
            assert start(token=TOKEN).get("/", headers=headers).status_code == 200  # type: ignore[arg-type]
    assert start(token=TOKEN).get("/", headers={"cookie": 'prefs={"a": 1}'}).status_code == 303


def test_logging_in_sets_a_cookie_that_no_script_and_no_other_site_has(start: Start) -> None:
    client = start(token=TOKEN)
    assert client.post("/login", data={"token": "wrong"}).status_code == 401
    response = client.post("/login", data={"token": TOKEN})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200
    out = client.post("/logout", data={"sent": "by a browser"})
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert client.get("/").status_code == 303
    client.cookies.set(COOKIE, "0" * 64)
    assert client.get("/").status_code == 303


def test_whoever_guesses_tokens_has_to_wait_even_with_the_right_one(start: Start) -> None:
    client = start(token=TOKEN)
    for number in range(GUESSES):
        assert client.post("/login", data={"token": f"guess {number}"}).status_code == 401
    assert client.post("/login", data={"token": TOKEN}).status_code == 429
    assert client.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 429


def test_somebody_who_is_in_is_not_kept_out_by_others_guesses(start: Start) -> None:
    client = start(token=TOKEN)
    client.post("/login", data={"token": TOKEN})
    for _ in range(GUESSES + 1):
        client.get("/api/status", headers={"authorization": "Bearer guess"})
    assert client.get("/").status_code == 200


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append((a, b)), real(a, b))[1])
    assert Access(TOKEN).is_token(TOKEN.encode())
    assert compared == [(TOKEN.encode(), TOKEN.encode())]


def test_a_token_that_is_soon_guessed_is_refused() -> None:
    with pytest.raises(UsageError, match="too short"):
        Access("hunter2")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("notes.lan", False),
    ],
)
def test_what_others_can_reach(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
