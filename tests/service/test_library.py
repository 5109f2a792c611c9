"""A corpus kept open: documents by their ids and passages', pages, replaced files, threads, stopping."""

from __future__ import annotations

import copy
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError, UsageError
from ragqa.service.events import StoppedError
from ragqa.service.library import Asked, Library
from ragqa.service.reading import PAGE, _start
from tests.conftest import fill

QUESTION = "How many grams of beans for one litre of water?"


@pytest.fixture
def library(db: Path) -> Iterator[Library]:
    opened = Library(db, "fts")
    yield opened
    opened.close()


def test_search_keeps_its_pipeline_until_the_file_is_another(
    library: Library, db: Path, tmp_path: Path
) -> None:
    assert library.search(QUESTION, 1).hits[0].passage.document_id == "coffee.md"
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "litre.md").write_text("One litre of water for how many grams of beans?")
    fill(db, tmp_path / "more")
    assert library.search(QUESTION, 1).hits[0].passage.document_id == "litre.md"
    fill(tmp_path / "other.db", tmp_path / "more")
    for end in ("", "-wal", "-shm"):
        Path(f"{db}{end}").unlink(missing_ok=True)
    with pytest.raises(RagqaError, match="There is no corpus at"):
        library.search(QUESTION)
    shutil.move(tmp_path / "other.db", db)
    assert [hit.passage.document_id for hit in library.search(QUESTION).hits] == ["litre.md"]


def test_a_question_may_name_shipped_configs_and_the_librarys_own(db: Path, tmp_path: Path) -> None:
    own, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    own.write_text("retrieve: {type: fts}\nk: 1")
    other.write_text("retrieve: {type: fts}\nk: 1")
    library = Library(db, str(own))
    assert len(library.search("water").hits) == 1
    assert len(library.search("water", config="fts").hits) > 1
    for name in (str(other), "nope"):
        with pytest.raises(UsageError, match=f"no config '{name}'"):
            library.search("water", config=name)
    library.close()


@pytest.mark.parametrize("k", [0, -1, 51])
def test_k_has_bounds(library: Library, k: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 50"):
        library.search("tea", k)


def test_a_document_is_read_from_its_start_a_passage_or_an_offset(library: Library) -> None:
    whole = library.read("coffee.md")
    assert (whole.offset, whole.next_offset) == (0, None)
    hit = library.search("Use 60 grams of beans for one litre", 1).hits[0].passage
    assert library.read(hit.id).text == whole.text[hit.start :]
    assert library.read(hit.id, 2).text == whole.text[2:]
    for name in (
        "nowhere.md",
        "coffee.md#99",
        "coffee.md#",
        "coffee.md#x",
        "#0",
        "\ud83d",
        "coffee.md#" + "9" * 30,
    ):
        with pytest.raises(UsageError, match="There is no document"):
            library.read(name)
    for offset in (-1, len(whole.text)):
        with pytest.raises(UsageError, match="none at offset"):
            library.read("coffee.md", offset)


def test_a_long_document_is_read_in_pages_that_make_up_the_whole(
    library: Library, db: Path, tmp_path: Path
) -> None:
    text = "\n".join(f"line {number}" for number in range(4_000))
    (tmp_path / "long.ndjson").write_text(
        json.dumps({"id": "long#1", "title": "", "text": text})
        + "\n"
        + json.dumps({"id": "wall", "text": "x" * 20_000})
    )
    fill(db, tmp_path / "long.ndjson")
    pages, offset = [], 0
    while offset is not None:
        extract = library.read("long#1", offset)
        pages.append(extract.text)
        offset = extract.next_offset  # type: ignore[assignment]
    assert "".join(pages) == text
    assert all(PAGE / 2 < len(page) <= PAGE and page.endswith("\n") for page in pages[:-1])
    assert len(library.read("wall").text) == PAGE


def test_an_id_is_found_as_a_model_was_told_it(library: Library, db: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.ndjson").write_text(
        json.dumps({"id": "od\u202ed\u200b", "title": "Odd", "text": "Odd words."})
    )
    fill(db, tmp_path / "odd.ndjson")
    assert library.read("odd").document.id == library.read("odd#0").document.id == "od\u202ed\u200b"


def test_many_threads_get_what_one_gets(library: Library) -> None:
    questions = ["grams of beans", "flat tyre", "green tea", "tomatoes sun", "chain oil"] * 8
    alone = {question: library.search(question, 3).hits for question in set(questions)}
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda question: library.search(question, 3, "hybrid-colbert").hits[0], questions)
        )
        again = list(pool.map(lambda question: library.search(question, 3).hits, questions))
    assert again == [alone[question] for question in questions]
    expected = {question: library.search(question, 3, "hybrid-colbert").hits[0] for question in alone}
    assert together == [expected[question] for question in questions]


def test_models_stay_loaded(
    library: Library, fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llm

    found = []
    get_model = llm.get_model
    monkeypatch.setattr(llm, "get_model", lambda name: found.append(name) or get_model(name))
    for _ in range(2):
        assert library.ask(Asked(QUESTION, model="fake")).text.startswith("Use 60 grams")
    assert found == ["fake"]


def test_a_model_is_loaded_once_whatever_name_or_config_asks_for_it(
    library: Library, fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llm

    llm.set_alias("nick", "fake")
    get_model = llm.get_model

    def anew(name: str) -> Any:
        """Return the model as llm does those of plugins: anew each time, with nothing loaded."""
        model = copy.copy(get_model(name))
        model.loaded = object()
        return model

    monkeypatch.setattr(llm, "get_model", anew)
    for name, config in (("fake", ""), ("nick", ""), ("fake", "dense")):
        library.ask(Asked(QUESTION, config, name))
    assert len(fake_models.answering.prompts) == 3
    assert len({prompt.model.loaded for prompt in fake_models.answering.prompts}) == 1


def test_a_question_that_is_cancelled_does_not_wait_for_the_model(
    library: Library, fake_models: SimpleNamespace
) -> None:
    never, answering = threading.Event(), threading.Event()

    class Hanging:
        def __iter__(self) -> Iterator[str]:
            answering.set()
            never.wait(8)
            yield "Use 60 grams."

    fake_models.answering.answer = Hanging()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(library.ask, Asked(QUESTION, model="fake"))
        assert answering.wait(30)
        start = time.monotonic()
        with pytest.raises(StoppedError):
            library.ask(Asked(QUESTION, model="fake"), stopped=lambda: time.monotonic() > start + 1)
        assert time.monotonic() - start < 5
        # Nothing is loaded for it, and it answers beside the other.
        assert "60 grams" in library.ask(Asked(QUESTION, model="extractive")).text
        assert not first.done()
        never.set()
        assert first.result().text == "Use 60 grams."


def test_an_answer_stops_when_nobody_waits_and_frees_the_corpus(
    library: Library, db: Path, fake_models: SimpleNamespace
) -> None:
    said: list[str] = []
    stopped = threading.Event()

    class Pieces:
        def __iter__(self) -> Iterator[str]:
            for piece in ("one ", "two ", "three "):
                said.append(piece)
                yield piece
                stopped.set()

    fake_models.answering.answer = Pieces()
    with pytest.raises(StoppedError):
        library.ask(Asked(QUESTION, model="fake"), stopped=stopped.is_set)
    assert len(said) == 2
    with pytest.raises(StoppedError):
        library.search(QUESTION, stopped=stopped.is_set)
    with Corpus.open(db) as corpus, corpus.writing(wait_s=0), corpus.transaction():
        pass
    assert library.search(QUESTION).hits


def test_a_passage_is_read_while_its_document_is_being_removed(
    library: Library, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = library.document("coffee.md")

    def removed_meanwhile(corpus: Corpus, document_id: str, ordinal: int) -> int | None:
        with Corpus.open(db) as writer:
            writer.remove([document_id])
        return _start(corpus, document_id, ordinal)

    monkeypatch.setattr("ragqa.service.reading._start", removed_meanwhile)
    assert library.read("coffee.md#0").document == document
    with pytest.raises(UsageError, match="There is no document 'coffee.md'"):
        library.document("coffee.md")
