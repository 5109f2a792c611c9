from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from ragqa.config import Config, load_config
from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.encoders.engines import ENGINES
from ragqa.encoders.onnx_engine import LeanEncoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import UsageError
from ragqa.service.catalog import _document
from ragqa.service.warm import WarmLibrary
from ragqa.web import schemas
from ragqa.web.app import Settings, make_app
from ragqa.web.listen import failure
from ragqa.web.server import CONFIGS
from tests.conftest import fill
from tests.web.conftest import HERE, QUESTION

JSON = {"accept": "application/json"}


def streamed(text: str) -> list[tuple[str, Any]]:
    """Return the events of a server-sent stream."""
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def test_an_answer_in_one_piece_has_the_documented_form(
    client: TestClient, fake_models: SimpleNamespace
) -> None:
    response = client.post("/api/ask", json={"question": QUESTION, "model": "fake"}, headers=JSON)
    assert response.status_code == 200
    answer = response.json()
    schemas.AnswerForm.model_validate(answer)
    assert answer["answer"] == "Use 60 grams of beans [1]. Sun helps."
    assert answer["citations"][0]["document_id"] == "coffee.md"
    assert answer["removed_citations"] == [99]
    assert answer["config"] == "default"
    assert answer["conversation_id"] is None


def test_an_answer_streams_as_events(client: TestClient, fake_models: SimpleNamespace) -> None:
    response = client.post("/api/ask", json={"question": QUESTION, "model": "fake"})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = streamed(response.text)
    names = [name for name, _ in events]
    assert names[0] == "search"
    assert names[-1] == "done"
    schemas.SearchForm.model_validate(events[0][1])
    done = events[-1][1]
    assert "".join(data["text"] for name, data in events if name == "text") == done["answer"]
    sentences = [data for name, data in events if name == "sentence"]
    assert "".join(data["text"] for data in sentences) == done["answer"]
    assert [data["check"] for data in sentences if data["check"]] == done["sentences"]


def test_a_model_that_fails_midway_is_an_event_and_what_was_found_stays(
    client: TestClient, fake_models: SimpleNamespace
) -> None:
    asked = {"question": QUESTION, "model": "failing"}
    events = streamed(client.post("/api/ask", json=asked).text)
    assert events[0][1]["hits"][0]["document_id"] == "coffee.md"
    assert ("text", {"text": "Use"}) in events
    assert events[-1] == ("error", {"error": "The model failing failed: the server hung up"})
    response = client.post("/api/ask", json=asked, headers=JSON)
    assert (response.status_code, response.json()) == (500, events[-1][1])


def test_a_refusal_says_so(client: TestClient) -> None:
    asked = {"question": "xylophone", "config": "fts"}
    answer = client.post("/api/ask", json=asked, headers=JSON).json()
    assert (answer["refused"], answer["refused_by"], answer["hits"]) == (True, "scores", [])


def test_nothing_asked_is_logged(
    client: TestClient, fake_models: SimpleNamespace, isolated_user: Path
) -> None:
    client.post("/api/ask", json={"question": QUESTION, "model": "fake"}, headers=JSON)
    assert not (isolated_user / "llm" / "logs.db").exists()


def test_search_and_explain_have_the_documented_forms(client: TestClient) -> None:
    found = client.post("/api/search", json={"question": QUESTION, "k": 2, "config": "fts"}).json()
    schemas.SearchForm.model_validate(found)
    assert len(found["hits"]) == 2
    explained = client.post("/api/explain", json={"question": QUESTION, "k": 1}).json()
    schemas.ExplanationForm.model_validate(explained)
    (hit,) = explained["hits"]
    assert {matches["stage"] for matches in hit["matches"]} >= {"fts", "colbert"}
    other = client.post("/api/explain", json={"question": QUESTION, "document": "garden.txt"}).json()
    assert {hit["document_id"] for hit in other["hits"]} == {"garden.txt"}


def test_status_says_what_is_ready_and_stale(client: TestClient, engine: WarmLibrary, notes: Path) -> None:
    status = client.get("/api/status").json()
    schemas.StatusForm.model_validate(status)
    assert (status["ready"], status["documents"]) == (True, 4)
    assert [(state["name"], state["stale"]) for state in status["configs"]] == [("default", {}), ("fts", {})]
    (notes / "bread.md").write_text("# Bread\n\nKnead the dough.", encoding="utf-8")
    assert engine.db is not None
    fill(engine.db, notes / "bread.md")
    first = client.get("/api/status").json()["configs"][0]
    assert first["stale"] == {"dense": 1, "colbert": 1}
    assert first["command"] == f"ragqa index -c default --db {engine.db}"


def test_a_document_whatever_its_id(db: Path, tmp_path: Path, served: Callable[..., str]) -> None:
    (tmp_path / "odd").mkdir()
    name = "a?b #c%2F<i>.txt"
    (tmp_path / "odd" / name).write_text("Odd names are names.", encoding="utf-8")
    fill(db, tmp_path / "odd" / name)
    # Not by a TestClient, which decodes a path twice.
    address = served(WarmLibrary(db, ["fts"]))
    document = httpx2.get(f"{address}/api/document/a%3Fb%20%23c%252F%3Ci%3E.txt").json()
    schemas.DocumentForm.model_validate(document)
    assert (document["document_id"], document["text"]) == (name, "Odd names are names.")
    (passage,) = document["passages"]
    assert document["text"][passage["start"] : passage["end"]] == document["text"]
    missing = httpx2.get(f"{address}/api/document/nowhere.md")
    assert (missing.status_code, missing.json()) == (404, {"error": "There is no document 'nowhere.md'."})


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("ask", {"question": " "}, 400, "The question is empty."),
        ("ask", {"question": "x" * 10_001}, 400, "at most 10,000 are read"),
        ("ask", {"question": "a", "config": "/etc/passwd"}, 400, "There is no config '/etc/passwd'."),
        ("ask", {"question": "a", "model": "nobody"}, 400, "There is no model 'nobody'."),
        ("ask", {"question": "a", "temperature": 1}, 400, "temperature: extra inputs are not permitted."),
        ("ask", {}, 400, "question: field required."),
        ("search", {"question": "a", "config": "dense"}, 400, "Known: default, fts."),
        ("search", {"question": "a", "k": 51}, 400, "k: input should be less than or equal to 50."),
        ("explain", {"question": "a", "document": "b"}, 400, "There is no document 'b'"),
        ("nothing", {}, 404, "Not Found."),
    ],
)
def test_what_is_wrong_with_a_request_is_a_sentence(
    client: TestClient, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    response = client.post(f"/api/{path}", json=body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert said in response.json()["error"]


def test_what_is_no_json_is_a_sentence(client: TestClient) -> None:
    response = client.post("/api/ask", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json() == {"error": "The request is not valid JSON."}


def test_a_fault_within_a_stream_is_an_event(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ragqa.service.forms.answer_json", lambda answer: 1 / 0)
    monkeypatch.setattr("ragqa.web.views.remarks", lambda answer: 1 / 0)
    asked = {"question": QUESTION, "model": "extractive"}
    name, data = streamed(client.post("/api/ask", json=asked).text)[-1]
    assert (name, data["error"][:14]) == ("error", "This failed by")
    name, data = streamed(client.post("/ask", data=asked).text)[-1]
    assert (name, data["text"][:14]) == ("error", "This failed by")
    assert capsys.readouterr().err.count("ZeroDivisionError") == 2


def test_openapi_describes_every_path_and_loads_nothing(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/ask",
        "/api/search",
        "/api/explain",
        "/api/status",
        "/api/document/{document_id}",
    }
    content = described["paths"]["/api/ask"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"text/event-stream", "application/json"}
    described_forms = described["components"]["schemas"]
    # A form may grow; a request may not say what nobody reads.
    assert "additionalProperties" not in described_forms["AnswerForm"]
    assert "additionalProperties" not in described_forms["HitForm"]
    assert described_forms["AskRequest"]["additionalProperties"] is False
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_a_fault_of_the_program_is_a_sentence_and_its_traceback_goes_to_the_terminal(
    engine: WarmLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("never \x1b[31mmind sk-local-0123456789")

    monkeypatch.setenv("LOCAL_API_KEY", "sk-local-0123456789")
    monkeypatch.setattr(engine, "search", broken)
    client = TestClient(make_app(engine, Settings()), base_url=HERE, raise_server_exceptions=False)
    response = client.post("/api/search", json={"question": "a"})
    assert response.status_code == 500
    assert response.headers["content-security-policy"]
    assert response.json()["error"].startswith("This failed by a fault of ragqa's own.")
    said = capsys.readouterr().err
    assert "ZeroDivisionError: never" in said
    assert "\x1b" not in said
    assert "mind [key removed]" in said
    assert failure(UsageError("No sk-local-0123456789.")).text == "No [key removed]."
    assert "0123456789" not in said


def test_a_document_and_its_passages_are_of_one_state_while_it_is_being_replaced(
    client: TestClient, db: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.get("/api/document/coffee.md").json()

    def replaced_meanwhile(corpus: Corpus, document_id: str) -> Any:
        found = _document(corpus, document_id)
        (notes / "coffee.md").write_text("# Coffee\n\nIt is gone.")
        with Corpus.open(db) as writer:
            writer.remove(["coffee.md"])
        fill(db, notes)
        return found

    monkeypatch.setattr("ragqa.service.catalog._document", replaced_meanwhile)
    assert client.get("/api/document/coffee.md").json() == before
    monkeypatch.undo()
    assert client.get("/api/document/coffee.md").json()["text"] != before["text"]


def test_a_model_that_ends_the_program_fails_like_any_other(
    client: TestClient, fake_models: SimpleNamespace
) -> None:
    fake_models.failing.error = SystemExit("the model is gone")
    body = {"question": QUESTION, "model": "failing"}
    said = "The model failing failed: it wanted to end the program: the model is gone"
    assert streamed(client.post("/api/ask", json=body).text)[-1] == ("error", {"error": said})
    response = client.post("/api/ask", json=body, headers=JSON)
    assert (response.status_code, response.json()) == (500, {"error": said})


def test_half_a_character_in_a_documents_id_is_no_fault(client: TestClient) -> None:
    body = b'{"question": "beans", "document": "nowhere \\ud800"}'
    response = client.post("/api/explain", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"].startswith("There is no document 'nowhere ?'")


def test_what_is_ingested_beside_a_server_never_has_it_fetch_torch(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragqa.encoders.engines.has_bfloat16", lambda: True)
    for module in ("ragqa.encoders.engines", "ragqa.service.library"):
        monkeypatch.setattr(f"{module}.may_have_accelerator", lambda: False)

    def fetches_torch(config: Config) -> bool:
        compute = Compute(config.device, config.dtype)
        model = config.rerank.options.get("model", "embedded")
        encoder = ENGINES["sentence-transformers"](EncoderSettings(model=model), compute)
        return not isinstance(encoder, LeanEncoder) or encoder._bulk is not None

    assert fetches_torch(load_config("light"))
    assert not fetches_torch(load_config("default"))
    with closing(WarmLibrary(db, CONFIGS)) as engine:
        assert [name for name in CONFIGS if fetches_torch(engine.config(name))] == []
