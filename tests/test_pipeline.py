from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragqa import Pipeline
from ragqa.answer.refusal import REFUSAL
from ragqa.config import MAX_QUESTION, ChunkSettings, load_config, parse_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.encoders.device import Compute
from ragqa.errors import BusyError, RagqaError, UsageError
from ragqa.explain.explanation import explain
from ragqa.operations.corpus import build_index
from ragqa.search.one import check_question
from ragqa.sources import Fields, open_sources
from ragqa.types import Passage
from tests.conftest import fill

QUESTION = "How many grams of beans for one litre of water?"


@pytest.fixture
def pipeline(db: Path) -> Iterator[Pipeline]:
    opened = Pipeline.from_config("default", db)
    yield opened
    opened.close()


def test_an_answer_streams_and_cites_only_what_was_given(
    pipeline: Pipeline, fake_models: SimpleNamespace
) -> None:
    pieces: list[str] = []
    answer = pipeline.ask(QUESTION, model="fake", options={"temperature": 0.1}, on_text=pieces.append)
    assert answer.text == "".join(pieces) == "Use 60 grams of beans [1]. Sun helps."
    assert pieces[0] == "Use 60 grams"
    assert answer.removed == (99,)
    assert [citation.number for citation in answer.citations] == [1]
    assert answer.citations[0].passage.document_id == "coffee.md"
    (sent,) = fake_models.answering.prompts
    assert answer.context.text in sent.prompt
    assert sent.prompt.rstrip().endswith(f"Question: {QUESTION}")
    assert "cite" in sent.system
    assert sent.options.temperature == 0.1


def test_a_failing_model_is_one_sentence_and_the_hits_were_shown(
    pipeline: Pipeline, fake_models: SimpleNamespace
) -> None:
    shown: list[object] = []
    with pytest.raises(RagqaError, match="The model failing failed: the server hung up"):
        pipeline.ask(QUESTION, model="failing", on_search=shown.append)
    assert len(shown) == 1


def test_whoever_stops_reading_is_not_the_models_failure(
    pipeline: Pipeline, fake_models: SimpleNamespace
) -> None:
    def closed(text: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        pipeline.ask(QUESTION, model="fake", on_text=closed)


def test_half_a_character_of_a_broken_model_is_replaced(
    pipeline: Pipeline, fake_models: SimpleNamespace
) -> None:
    fake_models.answering.answer = ["Use 60 grams \ud83d", " of beans [1]."]
    notes: list[str] = []
    pipeline.resources = replace(pipeline.resources, note=notes.append)
    answer = pipeline.ask(QUESTION, model="fake")
    assert answer.text == "Use 60 grams ? of beans [1]."
    assert answer.conversation_id is None
    assert "not in llm's log" in notes[0]


def test_a_log_that_cannot_be_written_loses_no_answer(
    db: Path, fake_models: SimpleNamespace, isolated_user: Path
) -> None:
    (isolated_user / "llm").mkdir()
    (isolated_user / "llm" / "logs.db").write_text("no database, but a letter")
    notes: list[str] = []
    with Corpus.open(db) as corpus:
        answer = Pipeline(load_config("fts"), corpus, notes.append).ask(QUESTION, model="fake")
    assert answer.text.startswith("Use 60 grams")
    assert any("not in llm's log" in note for note in notes)


def test_nothing_found_asks_no_model(db: Path, fake_models: SimpleNamespace) -> None:
    pipeline = Pipeline.from_config("fts-colbert", db)
    answer = pipeline.ask("xylophone", model="fake")
    pipeline.close()
    assert (answer.text, answer.refused) == (REFUSAL, "scores")
    assert fake_models.answering.prompts == []


def test_what_would_have_to_be_counted_is_not_answered_by_a_quotation(
    db: Path, fake_models: SimpleNamespace
) -> None:
    with Pipeline.from_config("default", db) as pipeline:
        counted = pipeline.ask("How many drinks are there in the notes?", model="extractive")
        assert (counted.text, counted.refused) == (REFUSAL, "scores")
        assert counted.search.hits
        assert pipeline.ask(QUESTION, model="extractive").refused == ""
    config = load_config("default").model_copy(update={"refuse": "never"})
    with Pipeline.from_config(config, db) as pipeline:
        assert pipeline.ask("How many drinks are there in the notes?", model="extractive").refused == ""


@pytest.mark.parametrize("check", [True, False])
def test_a_refusal_without_the_model_is_told_as_a_sentence_whether_or_not_answers_are_checked(
    db: Path, check: bool
) -> None:
    told: list[tuple[str, object]] = []
    config = load_config("fts").model_copy(update={"check": check})
    with Pipeline.from_config(config, db) as pipeline:
        pipeline.ask("zyzzyva?", model="extractive", on_sentence=lambda *parts: told.append(parts))
    assert told == [(REFUSAL, None)]


def test_a_config_that_cannot_be_used_leaves_no_corpus_open(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = []
    close = Corpus.close
    monkeypatch.setattr(Corpus, "close", lambda corpus: (closed.append(corpus.path), close(corpus)))
    with pytest.raises(UsageError, match="no retriever 'nope'"):
        Pipeline.from_config(parse_config({"retrieve": {"type": "nope"}}, "nope"), db)
    assert closed == [db]


def test_what_is_worth_knowing_is_told(db: Path) -> None:
    notes: list[str] = []
    config = parse_config({"retrieve": {"type": "dense", "codec": "float32"}}, "anew")
    with Pipeline.from_config(config, db, notes.append) as pipeline:
        assert pipeline.resources.note == notes.append


def test_a_model_that_refuses_has_refused(pipeline: Pipeline, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ["The documents do ", "not answer this."]
    answer = pipeline.ask(QUESTION, model="fake")
    assert (answer.refused, answer.sentences, answer.citations) == ("model", (), ())


def test_every_sentence_is_checked_by_what_it_cites(pipeline: Pipeline, fake_models: SimpleNamespace) -> None:
    fake_models.answering.answer = ["Use 60 grams of beans for one litre of water [1]. ", "Use 75 grams [1]."]
    told: list[tuple[str, str | None]] = []
    answer = pipeline.ask(
        QUESTION,
        model="fake",
        on_sentence=lambda text, check: told.append((text, check.verdict if check else None)),
    )
    assert [sentence.verdict for sentence in answer.sentences] == ["supported", "unsupported"]
    assert "".join(text for text, _ in told) == answer.text
    assert [verdict for _, verdict in told] == ["supported", "unsupported"]
    for sentence in answer.sentences:
        assert answer.text[sentence.start : sentence.end] == sentence.text
    assert answer.citations[0].support == max(sentence.by_block[1] for sentence in answer.sentences)


def test_a_citation_of_the_wrong_passage_names_the_right_one(
    pipeline: Pipeline, fake_models: SimpleNamespace
) -> None:
    fake_models.answering.answer = ["Use 60 grams of beans for one litre of water [2]."]
    (sentence,) = pipeline.ask(QUESTION, model="fake").sentences
    assert (sentence.verdict, sentence.best) == ("wrong citation", 1)


def test_checks_can_be_turned_off(db: Path, fake_models: SimpleNamespace) -> None:
    pipeline = Pipeline.from_config(load_config("default").model_copy(update={"check": False}), db)
    answer = pipeline.ask(QUESTION, model="fake")
    pipeline.close()
    assert answer.sentences == ()
    assert answer.citations[0].support is None


def test_reranking_agrees_with_encoding_everything_anew(db: Path) -> None:
    import numpy as np

    from ragqa.corpus.passages import indexed_text
    from ragqa.encoders.engines import load_encoder
    from ragqa.encoders.tokens import EncoderSettings

    encoder = load_encoder(EncoderSettings(), Compute("cpu"))
    rerank = {"type": "colbert", "codec": "int8", "pool_factor": 1}
    pipeline = Pipeline.from_config(
        parse_config({"retrieve": {"type": "fts"}, "rerank": rerank}, "plain"), db
    )
    build_index(pipeline)
    hits = pipeline.search(QUESTION).hits
    pipeline.close()
    (query,) = encoder.encode_queries([QUESTION])
    documents = encoder.encode_documents([indexed_text(hit.passage)[0] for hit in hits])
    expected = [float((query @ document.T).max(axis=1).sum()) for document in documents]
    np.testing.assert_allclose([hit.scores["colbert"] for hit in hits], expected, rtol=0.02)


def test_a_candidate_not_indexed_yet_is_still_reranked(pipeline: Pipeline) -> None:
    with pipeline.corpus.transaction():
        pipeline.corpus.connection.execute(
            "DELETE FROM token_vectors WHERE passage IN"
            " (SELECT rowid FROM passages WHERE title LIKE '%coffee')"
        )
    assert pipeline.derived()["colbert"].missing() > 0
    assert pipeline.search(QUESTION).hits[0].passage.document_id == "coffee.md"
    assert pipeline.derived()["colbert"].missing() == 0


def test_k_limits_the_hits_and_candidates_the_work(pipeline: Pipeline) -> None:
    assert len(pipeline.search("water tea coffee tomatoes", 2).hits) == 2
    assert len(pipeline.search("water tea coffee tomatoes").hits) > 2


@pytest.mark.parametrize("question", ["", "  \n\t ", "\0"])
def test_an_empty_question_is_refused(question: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        check_question(question)


def test_a_question_keeps_its_words_and_loses_what_cannot_be_stored() -> None:
    assert check_question("  why\ud800\0now ") == "why? now"
    with pytest.raises(UsageError, match="10,001 characters"):
        check_question("a" * (MAX_QUESTION + 1))


def test_a_prompt_is_read_once_however_many_questions_it_serves(
    pipeline: Pipeline, fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragqa.answer import preparation

    read: list[str] = []
    load = preparation.load_prompt
    monkeypatch.setattr(preparation, "load_prompt", lambda name: (read.append(name), load(name))[1])
    for _ in range(2):
        pipeline.ask(QUESTION, model="fake")
    assert read == ["concise"]


# What each way of asking reads of the corpus.
WAYS = {
    "search": lambda pipeline: [hit.passage.text for hit in pipeline.search(TEA).hits],
    "context": lambda pipeline: pipeline.context(TEA)[1].text,
    "ask": lambda pipeline: pipeline.ask(TEA, model="extractive", log=False).text,
    "stream": lambda pipeline: "".join(pipeline.stream(TEA, model="extractive", log=False)),
    "explain": lambda pipeline: [hit.hit.passage.text for hit in explain(pipeline, TEA).hits],
}
TEA = "How warm is green tea steeped?"


@pytest.mark.parametrize("config", ["fts", "dense", "fts-colbert"])
@pytest.mark.parametrize("way", WAYS)
def test_a_document_that_is_replaced_amid_a_question_leaves_no_hole_in_it(
    way: str, config: str, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of passages are found by one statement and read by another; a writer once came between."""
    (tmp_path / "tea.html").write_text("<h1>Brewing tea</h1><p>Green tea wants 75 degrees.</p>")
    read = Corpus.passages

    def replace_tea() -> None:
        with Corpus.open(db) as other:
            sources = open_sources([str(tmp_path / "tea.html")], Fields())
            assert ingest(other, sources, ChunkSettings(), take_over=True).replaced == 1

    writers = iter([replace_tea])

    def passages(corpus: Corpus, rowids: Sequence[int]) -> list[Passage]:
        next(writers, lambda: None)()
        return read(corpus, rowids)

    with Pipeline.from_config(config, db) as pipeline:
        before = WAYS[way](pipeline)
        assert "70 degrees" in str(before)
        monkeypatch.setattr(Corpus, "passages", passages)
        assert WAYS[way](pipeline) == before
        # The next question sees what was written.
        assert any("75 degrees" in hit.passage.text for hit in pipeline.search(TEA).hits)


def test_vectors_that_a_question_lacked_are_kept_when_it_is_answered(notes: Path, tmp_path: Path) -> None:
    fill(tmp_path / "new.db", notes)
    with Pipeline.from_config("fts-colbert", tmp_path / "new.db") as pipeline:
        found = pipeline.search(TEA).hits
        assert found
        query = "SELECT count(*) FROM token_vectors"
        assert pipeline.corpus.connection.execute(query).fetchone()[0] == len(found)
        assert not pipeline.corpus.connection.in_transaction


def test_nothing_is_written_in_a_snapshot(corpus: Corpus) -> None:
    with corpus.snapshot(), corpus.snapshot(), pytest.raises(BusyError), corpus.writing():
        pass
    with corpus.writing(), corpus.transaction():
        corpus.set_setting("chunk", corpus.setting("chunk"))
