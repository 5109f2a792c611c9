from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ragqa.config import load_config, parse_config
from ragqa.corpus.passages import indexed_text
from ragqa.errors import UsageError
from ragqa.explain.explanation import explain, explain_result
from ragqa.explain.segments import segments, shown
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.types import ExplainedHit, Explanation, Matches
from tests.conftest import fill

QUESTION = "How warm is green tea steeped?"
WORDS = ("green", "tea", "boiling", "water")
LONG = "# Sencha\n\n" + "leaf " * 700 + "kettle."


@pytest.fixture(scope="module")
def notes_db(indexed_notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(indexed_notes, tmp_path_factory.mktemp("explain") / "notes.db"))


def explained(db: Path, config: object, question: str = QUESTION, **options: object) -> Explanation:
    name = config if isinstance(config, str) else parse_config(config, "own")
    pipeline = Pipeline.from_config(name, db)
    build_index(pipeline)
    try:
        return explain(pipeline, question, **options)  # type: ignore[arg-type]
    finally:
        pipeline.close()


def by_stage(hit: ExplainedHit) -> dict[str, Matches]:
    return {matches.stage: matches for matches in hit.matches}


def said(matches: Matches, word: str) -> str | None:
    (match,) = [match for match in matches.query if match.word.text == word]
    return matches.text[slice(*match.best)] if match.best else None


WHOLE = {
    "retrieve": {"type": "colbert-index", "kind": "exact", "pool_factor": 1, "codec": "int8"},
    "rerank": {"type": "none"},
}
STEMMING = {"retrieve": {"type": "fts", "weights": {"title": 5, "headings": 0, "text": 0.5}}}
GRAMS = {"retrieve": {"type": "fts", "tokenizer": "trigram", "stop_words": "none"}}


@pytest.mark.parametrize(
    "config", ["default", "fts", "fts-colbert", "colbert-exact", "colbert-shortlist", WHOLE, STEMMING, GRAMS]
)
def test_shares_sum_to_the_score_of_every_stage(notes_db: Path, config: object) -> None:
    explanation = explained(notes_db, config, k=5)
    assert explanation.hits
    for hit in explanation.hits:
        assert hit.matches
        for matches in hit.matches:
            if matches.stage in hit.hit.scores:
                score = hit.hit.scores[matches.stage]
                assert matches.total == pytest.approx(score, rel=1e-4, abs=1e-6)
            assert sum(match.share for match in matches.query) == pytest.approx(matches.total)


def test_the_text_that_is_shown_is_the_text_that_is_stored(notes_db: Path) -> None:
    for config in ("default", "fts"):
        hits = explained(notes_db, config, " ".join(WORDS), k=5).hits
        for hit in hits:
            text = indexed_text(hit.hit.passage)[0]
            assert text.endswith(hit.hit.passage.text)
            assert {matches.text for matches in hit.matches} == {text}
            pieces = segments(hit, text)
            assert "".join(piece.text for piece in pieces) == text
        best = segments(hits[0], hits[0].matches[0].text)
        assert {piece.text.lower() for piece in best if piece.level > 2} & set(WORDS)


def test_best_matches_are_the_words_that_a_reader_would_name(notes_db: Path) -> None:
    best = explained(notes_db, "default").hits[0]
    late, terms = by_stage(best)["colbert"], by_stage(best)["fts"]
    assert [said(late, "green"), said(late, "tea")] == ["Green", "tea"]
    # Stemmed words are found whole, in the words of the passage.
    assert said(terms, "steeped") == "steeped"
    assert shown(best) is late
    names = [word.text for word in explained(notes_db, "default").query_words]
    assert names == ["How", "warm", "is", "green", "tea", "steeped", "?", "[3 special tokens]"]


def test_a_term_in_the_title_or_a_heading_alone_is_found_there(tmp_path: Path) -> None:
    text = "# Ferment\n\n" + "Salt the leaves.\n\n" * 200 + "## Storage cellars\n\n" + "Cold, dark.\n\n" * 200
    (tmp_path / "kraut.md").write_text(text, encoding="utf-8")
    fill(tmp_path / "kraut.db", tmp_path / "kraut.md")
    hits = explained(tmp_path / "kraut.db", "fts", "ferment in a cellar", k=50).hits
    titled = [hit for hit in hits if "erment" not in hit.hit.passage.text]
    assert titled
    for hit in titled:
        (matches,) = hit.matches
        assert said(matches, "ferment") == "Ferment"
        assert matches.text.startswith("Ferment")
    headed = [hit for hit in titled if "ellar" not in hit.hit.passage.text and hit.hit.passage.headings]
    assert {said(hit.matches[0], "cellar") for hit in headed} == {"cellars"}


def test_a_compound_name_is_one_term_and_its_parts(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Use shot-scraper. \ue000 A shot, then a scraper.", encoding="utf-8")
    fill(tmp_path / "a.db", tmp_path / "a.md")
    (hit,) = explained(tmp_path / "a.db", "fts", "what is Shot-Scraper?").hits
    (matches,) = hit.matches
    found = {match.word.text: matches.text[slice(*match.best)] for match in matches.query if match.best}
    assert found == {"Shot-Scraper": "shot-scraper", "Shot": "shot", "Scraper": "scraper"}
    words = [matches.text[word.start : word.end] for word in matches.words]
    assert words == ["shot", "scraper", "shot", "scraper"]


def test_words_beyond_the_token_limit_are_shown_and_said_to_be_unread(tmp_path: Path) -> None:
    (tmp_path / "long.md").write_text(LONG, encoding="utf-8")
    fill(tmp_path / "long.db", tmp_path / "long.md")
    rerank = {"type": "colbert", "document_tokens": 32}
    config = {"retrieve": {"type": "fts"}, "rerank": rerank}
    hit = explained(tmp_path / "long.db", config, "leaf kettle", k=1).hits[0]
    late = by_stage(hit)["colbert"]
    assert late.note.startswith("The model read the first ")
    assert late.total == pytest.approx(hit.hit.scores["colbert"], rel=1e-4)
    pieces = segments(hit, late.text)
    assert "".join(piece.text for piece in pieces) == late.text
    # Full text read on where the encoder had stopped.
    assert [piece.text for piece in pieces if piece.also and piece.match is None]


def test_each_stage_moves_a_passage_to_its_rank(notes_db: Path) -> None:
    pipeline = Pipeline.from_config("default", notes_db)
    found = pipeline.candidates(QUESTION)
    explanation = explain(pipeline, QUESTION, 4)
    result = pipeline.rerank(found, 4)
    assert [hit.hit for hit in explanation.hits] == list(result.hits)
    assert explanation.candidates == len(found.hits)
    for hit in explanation.hits:
        assert list(hit.ranks) == [
            name for name in ("fts", "dense", "hybrid", "colbert", "fusion") if name in hit.ranks
        ]
        for stage, rank in hit.ranks.items():
            better = [
                other
                for other in pipeline.rerank(found, len(found.hits)).hits
                if other.scores.get(stage, float("-inf")) > hit.hit.scores[stage]
            ]
            assert rank == len(better) + 1
        assert hit.ranks["fusion"] == hit.hit.rank
    # From a search that was done already, the same.
    assert explain_result(pipeline, pipeline.search(QUESTION, 4)) == explanation
    pipeline.close()


def test_neighbours_and_stages_that_come_twice_have_ranks_and_names_of_their_own(notes_db: Path) -> None:
    twice = {"type": "hybrid", "stages": [{"type": "fts"}, {"type": "fts", "stop_words": "none"}]}
    names = [set(by_stage(hit)) for hit in explained(notes_db, {"retrieve": twice}).hits]
    assert names[0] == {"fts", "fts-2"}
    near = {"type": "neighbours", "of": {"type": "fts"}, "seeds": 1}
    explanation = explained(notes_db, {"retrieve": near}, "rubber cement", k=4)
    assert [hit.ranks["neighbours"] for hit in explanation.hits] == [1, 2, 3, 4]
    assert [hit.ranks.get("fts") for hit in explanation.hits][:2] == [1, None]


@pytest.mark.parametrize("config", ["default", "fts", "dense"])
def test_a_document_is_explained_whether_or_not_it_is_found(notes_db: Path, config: str) -> None:
    data = {"retrieve": {"type": "fts"}, "candidates": 1, "k": 1}
    inside = explained(notes_db, config, document="tea.html", k=2)
    assert {hit.hit.passage.document_id for hit in inside.hits} == {"tea.html"}
    assert not inside.hits[0].outside
    outside = explained(notes_db, data, document="garden.txt", k=5)
    assert outside.hits
    assert all(hit.outside and not hit.ranks for hit in outside.hits)
    assert {hit.hit.passage.document_id for hit in outside.hits} == {"garden.txt"}


def test_a_document_is_explained_by_an_ordinary_search_however_many_passages_are_shown(
    notes_db: Path,
) -> None:
    few = load_config("default").model_copy(update={"k": 1, "candidates": 1})
    with Pipeline.from_config(few, notes_db) as pipeline:
        found = pipeline.candidates(QUESTION)
        names = {hit.passage.document_id for hit in found.hits}
        assert "garden.txt" not in names
        explanation = explain(pipeline, QUESTION, 9, "garden.txt")
        assert explanation.candidates == len(found.hits)
        assert explanation.hits
        assert all(hit.outside for hit in explanation.hits)


def test_passages_that_are_named_are_explained_and_no_others(tmp_path: Path) -> None:
    sections = "".join(f"## Part {n}\n\n{'Salt the leaves. ' * 60}\n\n" for n in range(3))
    (tmp_path / "kraut.md").write_text(sections, encoding="utf-8")
    fill(tmp_path / "kraut.db", tmp_path / "kraut.md")
    for candidates in (1, 50):
        config = {"retrieve": {"type": "fts"}, "candidates": candidates, "k": 1}
        for names in (["kraut.md#0"], ["kraut.md#1", "kraut.md#2"], ["kraut.md#77"]):
            explanation = explained(
                tmp_path / "kraut.db", config, "salt", k=9, document="kraut.md", passages=names
            )
            assert explanation.candidates == min(candidates, 6)
            shown_ids = {hit.hit.passage.id for hit in explanation.hits}
            assert shown_ids == set(names) - {"kraut.md#77"}


def test_bytes_that_are_no_text_name_no_document(notes_db: Path) -> None:
    with pytest.raises(UsageError, match=r"no document 'tea\?.html'. Did you mean 'tea.html'"):
        explained(notes_db, "fts", document="tea\udcff.html")


def test_of_a_document_that_is_not_found_the_best_passages_come_first(notes_db: Path) -> None:
    fused = {"by": "scores", "weights": {"fts": 1, "colbert": 1}}
    for rerank in ({"type": "colbert"}, {"type": "colbert", "fuse": fused}):
        data = {"retrieve": {"type": "fts"}, "rerank": rerank, "candidates": 1, "k": 1}
        hits = explained(notes_db, data, "coffee beans ratio water", document="tea.html", k=9).hits
        scores = [hit.hit.scores["colbert"] for hit in hits if hit.outside]
        assert scores == sorted(scores, reverse=True)
        assert all("fusion" not in hit.hit.scores for hit in hits if hit.outside)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("tea.htm", "tea.html"), ("tea.html#0", "tea.html"), ("cofee.md", "coffee.md")]
)
def test_an_unknown_document_is_said_with_one_that_is_close(notes_db: Path, wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"no document '{wrong}'. Did you mean '{meant}'"):
        explained(notes_db, "fts", document=wrong)
    with pytest.raises(UsageError, match=r"no document 'zzzz'\.$"):
        explained(notes_db, "fts", document="zzzz")


def test_a_question_of_punctuation_or_of_nothing_that_is_there(notes_db: Path) -> None:
    marks = explained(notes_db, "default", "?!")
    assert [word.text for word in marks.query_words] == ["?", "!", "[3 special tokens]"]
    assert marks.hits[0].matches[-1].total == pytest.approx(marks.hits[0].hit.scores["colbert"], rel=1e-4)
    assert explained(notes_db, "fts", "xylophone").hits == ()
    assert explained(notes_db, "dense").hits[0].matches == ()


def test_stored_vectors_are_read_and_nothing_is_encoded_anew(
    notes_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline.from_config("default", notes_db)
    monkeypatch.setattr(type(pipeline.evidence_source.encoder), "encode_documents", None)
    monkeypatch.setattr(type(pipeline.evidence_source.encoder), "encode_documents", None)
    assert explain(pipeline, QUESTION).hits
    pipeline.close()
