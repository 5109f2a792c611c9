from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from bs4 import BeautifulSoup, Tag
from starlette.testclient import TestClient

from ragqa.evaluate.store import RunStore
from ragqa.rerank.colbert import ColbertReranker
from ragqa.safety.untrusted import is_web
from ragqa.service.catalog import DOCUMENTS_PER_PAGE
from ragqa.service.warm import WarmLibrary
from ragqa.web.app import Settings, make_app
from ragqa.web.runs import REPORT_POLICY
from tests.conftest import fill
from tests.evaluate.test_store import KEY, RESULTS, begin
from tests.web.conftest import HERE, QUESTION
from tests.web.hostile import HOSTILE, PIECES, hostile_corpus


def soup(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


def one(page: BeautifulSoup | Tag, selector: str) -> Tag:
    (found,) = page.select(selector)
    return found


def test_a_form_alone_gets_the_whole_answer(client: TestClient, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = [
        "Use 60 grams of beans for one litre of water [1]. Never use cold water [1]. ",
        "The beans are ground medium for a paper filter [2].",
    ]
    page = soup(client.post("/", data={"question": QUESTION, "model": "fake"}).text)
    answer = one(page, ".answer").get_text()
    assert answer.startswith("Use 60 grams of beans for one litre of water [1].")
    assert one(page, "#question").get_text() == QUESTION
    assert one(page, ".who").get_text() == "default · fake"
    kinds = [sentence["class"][1] for sentence in page.select(".sentence")]
    assert kinds[:2] == ["supported", "unsupported"]
    assert len(page.select(".sources li")) >= 1
    link = page.select(".answer a.cite")[0]
    shown = soup(client.get(str(link["href"])).text)
    assert "60 grams" in one(shown, ".text").get_text()
    assert shown.select(".text .l4")


def test_two_answers_side_by_side_in_the_order_asked(
    client: TestClient, fake_models: SimpleNamespace
) -> None:
    form = {"question": QUESTION, "model": "fake", "compare": "1", "config2": "fts", "model2": "failing"}
    page = soup(client.post("/", data=form).text)
    first, second = page.select(".column")
    assert [one(column, ".who").get_text() for column in (first, second)] == [
        "default · fake",
        "fts · failing",
    ]
    assert one(first, ".error").get_text() == ""
    assert one(second, ".error").get_text() == "The model failing failed: the server hung up"
    assert one(second, ".answer").get_text().strip() == "Use"
    assert second.select(".found li")
    assert one(page, "[name=config2] [selected]").get_text() == "fts"


def test_a_refusal_shows_the_closest_documents(client: TestClient, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ["The documents do not answer this."]
    page = soup(client.post("/", data={"question": QUESTION, "model": "fake"}).text)
    assert one(page, ".after h3").get_text() == "Closest documents"
    assert "Making coffee" in one(page, ".after").get_text()
    nothing = soup(client.post("/", data={"question": "xylophone", "config": "fts"}).text)
    assert "No passage has anything to do with it." in one(nothing, ".after").get_text()


def test_an_unchecked_answer_has_its_citations_all_the_same(
    db: Path, tmp_path: Path, fake_models: SimpleNamespace
) -> None:
    config = tmp_path / "plain.yaml"
    config.write_text("retrieve: {type: fts}\ncheck: false\nmodel: fake\n", encoding="utf-8")
    engine = WarmLibrary(db, [str(config)])
    engine.start()
    client = TestClient(make_app(engine, Settings()), base_url=HERE)
    page = soup(client.post("/", data={"question": QUESTION}).text)
    engine.close()
    assert one(page, ".answer").get_text() == "Use 60 grams of beans [1]. Sun helps."
    assert len(page.select(".answer a.cite")) == 1
    assert not page.select(".mark")


def test_a_config_limits_the_questions_of_a_page(db: Path, tmp_path: Path) -> None:
    config = tmp_path / "tight.yaml"
    config.write_text("retrieve: {type: fts}\nmodel: extractive\nlimits: {question: 30}", encoding="utf-8")
    engine = WarmLibrary(db, [str(config)])
    engine.start()
    client = TestClient(make_app(engine, Settings()), base_url=HERE)
    assert one(soup(client.get("/").text), "#question")["maxlength"] == "30"
    told = client.post("/api/ask", json={"question": "a" * 31})
    engine.close()
    assert (told.status_code, told.json()["error"][:36]) == (400, "The question is 31 characters long; ")


def test_what_documents_and_models_say_is_text(tmp_path: Path, fake_models: SimpleNamespace) -> None:
    engine = WarmLibrary(hostile_corpus(tmp_path), ["default", "fts"])
    engine.start()
    client = TestClient(make_app(engine, Settings()), base_url=HERE)
    fake_models.answering.answer = [f"{HOSTILE} is green tea [1]."]
    asked = client.post("/", data={"question": f"green tea {HOSTILE}", "model": "fake"})
    passage = client.get(str(soup(asked.text).select(".answer a.cite")[0]["href"]))
    corpus = client.get("/corpus", params={"q": "<"})
    document = client.get(str(soup(corpus.text).select(".documents a")[0]["href"]))
    missing = client.get("/document", params={"id": HOSTILE})
    refused = client.get("/", headers={"host": HOSTILE.replace("\n", "").replace("\u202e", "")})
    engine.close()
    for response in (asked, passage, corpus, document, missing, refused):
        page = soup(response.text)
        assert not page.select("img, iframe, object, style, base, meta[http-equiv]")
        assert {script.get("src") for script in page.select("script")} <= {
            "/static/app.js",
            "/static/shading.js",
        }
        for element in page.find_all(True):
            assert not [name for name in element.attrs if name.startswith("on") or name == "style"]
            assert not str(element.get("href", "")).lower().startswith(("javascript", "data"))
        assert "\u202e" not in response.text
    for response in (asked, passage, document):
        text = soup(response.text).get_text()
        assert all(piece in text for piece in PIECES)


def test_sources_become_links_only_to_the_web() -> None:
    assert [
        is_web(source)
        for source in ("http://a", "HTTPS://a", "javascript:a", "data:a", "//a", "http-notes/a.md")
    ] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_links_to_the_web_tell_nobody_where_they_come_from(db: Path) -> None:
    with TestClient(make_app(WarmLibrary(db, ["fts"]), Settings()), base_url=HERE) as client:
        import sqlite3

        with sqlite3.connect(db) as connection:
            connection.execute("UPDATE documents SET source = 'https://tea.example/' WHERE id = 'tea.html'")
        connection.close()
        page = soup(client.get("/document", params={"id": "tea.html"}).text)
    link = one(page, 'a[href="https://tea.example/"]')
    assert link["rel"] == ["noreferrer", "noopener"]


def test_documents_are_found_by_title_and_id_and_paged(client: TestClient, tmp_path: Path, db: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(DOCUMENTS_PER_PAGE + 1):
        (folder / f"100%_{number:03}.md").write_text(f"# Number {number}\n\nText.", encoding="utf-8")
    fill(db, folder)
    found = soup(client.get("/corpus", params={"q": "100%_"}).text)
    assert len(found.select(".documents a[href^='/document']")) == DOCUMENTS_PER_PAGE
    (later,) = found.select("a[rel=next]")
    rest = soup(client.get(str(later["href"])).text)
    assert [a.get_text() for a in rest.select(".documents a[href^='/document']")] == ["Number 50"]
    assert one(rest, ".pager span").get_text() == "Page 2 of 2"
    by_title = soup(client.get("/corpus", params={"q": "brewing"}).text)
    assert [a.get_text() for a in by_title.select(".documents a[href^='/document']")] == ["Brewing tea"]
    beyond = soup(client.get("/corpus", params={"q": "coffee", "page": "99"}).text)
    assert len(beyond.select(".documents a[href^='/document']")) == 1
    nothing = soup(client.get("/corpus", params={"q": "1000_"}).text)
    assert not nothing.select(".documents a[href^='/document']")


def test_what_is_stale_is_said_with_the_command_that_mends_it(
    client: TestClient, db: Path, tmp_path: Path
) -> None:
    (tmp_path / "bread.md").write_text("# Bread\n\nKnead the dough.", encoding="utf-8")
    fill(db, tmp_path / "bread.md")
    page = soup(client.get("/corpus").text)
    assert one(page, "#main > .bad").get_text(" ", strip=True) == (
        "default : dense lacks 1 passage, colbert lacks 1 passage. This mends it: "
        f"ragqa index -c default --db {db}"
    )


def test_a_document_is_shown_passage_by_passage(client: TestClient) -> None:
    page = soup(client.get("/document", params={"id": "coffee.md"}).text)
    assert "60 grams of beans" in page.select(".verbatim")[-1].get_text()
    assert client.get("/document", params={"id": "nowhere.md"}).status_code == 404


def test_a_passage_that_was_not_found_is_shaded_too(client: TestClient) -> None:
    url = f"/passage?question=beans&config=fts&id={quote('garden.txt#0')}"
    page = soup(client.get(url).text)
    assert "Tomatoes" in one(page, ".text").get_text()
    assert "not among the" in one(page, ".journey").get_text()
    fragment = client.get(url, headers={"x-fragment": "1"}).text
    assert fragment.startswith('<h2 id="panel-title">')
    for wrong in ("id=garden.txt%237", "id=nowhere", ""):
        assert client.get(f"/passage?question=a&{wrong}").status_code == 400


def test_a_passage_that_is_opened_is_reranked_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranked = []
    rerank = ColbertReranker.rerank

    def counted(self: Any, *args: Any) -> Any:
        reranked.append(args)
        return rerank(self, *args)

    monkeypatch.setattr(ColbertReranker, "rerank", counted)
    page = soup(client.get(f"/passage?question=beans&config=default&id={quote('coffee.md#0')}").text)
    assert "rank 1" in one(page, ".journey").get_text()
    assert len(reranked) == 1


def test_the_status_waits_for_no_config_that_is_loading(
    client: TestClient, engine: WarmLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever borrows a pipeline may have to wait for the config that loads one.
    monkeypatch.setattr(engine, "borrow", lambda name: 1 / 0)
    engine._warm["fts"].clear()
    states = client.get("/api/status").json()["configs"]
    assert [(state["name"], state["ready"]) for state in states] == [("default", True), ("fts", False)]
    said = one(soup(client.get("/corpus").text), "section").get_text()
    assert "default: ready" in said
    assert "fts: loading" in said
    assert "up to date" not in said


def test_the_script_of_a_page_gets_errors_as_sentences(client: TestClient) -> None:
    response = client.post("/ask", data={"question": " "}, headers={"x-fragment": "1"})
    assert (response.status_code, response.text) == (400, "The question is empty.")
    page = soup(client.post("/", data={"question": " "}).text)
    assert one(page, ".error").get_text() == "The question is empty."


def test_files_of_the_page_are_these_and_no_others(client: TestClient) -> None:
    for name in ("app.js", "app.css", "shading.js", "shading.css", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    for name in ("app.py", "../app.py", "..%2fapp.py", "%2e%2e/guard.py", ""):
        assert client.get(f"/static/{name}").status_code == 404


def test_pages_load_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/corpus", "/runs", "/document?id=coffee.md", "/login"):
        for element in soup(client.get(path).text).select("script, link, img"):
            where = str(element.get("src") or element.get("href"))
            assert where.startswith("/static/")
            assert client.get(where).status_code == 200


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    with RunStore.open(tmp_path / "runs.db", create=True) as store:
        for name in ("first", "<script>alert(1)</script>"):
            number = begin(store, name, key=replace(KEY, config=name))
            for place, result in RESULTS.items():
                store.record(number, place, result)
    return tmp_path / "runs.db"


def test_stored_runs_are_reported_with_their_plots_and_without_script(db: Path, runs: Path) -> None:
    client = TestClient(make_app(WarmLibrary(db, ["fts"]), Settings(runs=runs)), base_url=HERE)
    listed = soup(client.get("/runs").text)
    assert [box["value"] for box in listed.select("input[name=run]")] == ["2", "1"]
    response = client.get("/runs/report", params={"run": ["1", "2"]})
    assert response.headers["content-security-policy"] == REPORT_POLICY
    assert "script-src" not in REPORT_POLICY
    page = soup(response.text)
    assert len(page.select("figure svg")) >= 2
    assert not page.select("script")
    assert one(page, 'a[href="/runs"]')
    assert client.get("/runs/report", params={"run": "7"}).status_code == 400
    assert client.get("/runs/report", params={"run": [str(n) for n in range(9)]}).status_code == 400


def test_no_runs_yet_is_a_sentence(db: Path, tmp_path: Path) -> None:
    client = TestClient(
        make_app(WarmLibrary(db, ["fts"]), Settings(runs=tmp_path / "none.db")), base_url=HERE
    )
    assert "ragqa eval run QUESTIONS makes some." in client.get("/runs").text
    assert not (tmp_path / "none.db").exists()
