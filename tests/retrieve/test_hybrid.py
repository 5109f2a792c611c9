from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ragqa.config import StageSettings, parse_config
from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.errors import UsageError
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.search.contracts import Resources
from ragqa.search.registry import check_stages, make_retriever
from tests.conftest import fill

CPU = Compute("cpu")
QUESTION = "How hot should the water for tea be?"


def hybrid(**options: object) -> StageSettings:
    stages = [{"type": "fts"}, {"type": "dense"}]
    return StageSettings(type="hybrid", **{"stages": stages, **options})


def test_the_rankings_are_fused_and_every_score_is_kept(corpus: Corpus) -> None:
    resources = Resources(corpus, CPU, print)
    single = {}
    for name in ("fts", "dense"):
        stage = make_retriever(StageSettings(type=name), resources)
        single[name] = {hit.passage.id: hit for hit in stage.search(QUESTION, 50)}
    hits = make_retriever(hybrid(fuse={"k": 10, "weights": [2, 1]}), resources).search(QUESTION, 50)
    assert {hit.passage.id for hit in hits} == single["fts"].keys() | single["dense"].keys()
    for hit in hits:
        found = {name: ranked[hit.passage.id] for name, ranked in single.items() if hit.passage.id in ranked}
        expected = sum({"fts": 2, "dense": 1}[name] / (10 + other.rank) for name, other in found.items())
        assert hit.score == hit.scores["hybrid"] == pytest.approx(expected)
        assert hit.scores.keys() == {"hybrid", *found}
        for name, other in found.items():
            assert hit.scores[name] == pytest.approx(other.score)


def test_a_batch_gives_what_single_questions_give(corpus: Corpus) -> None:
    stage = make_retriever(hybrid(), Resources(corpus, CPU, print))
    questions = [QUESTION, "What mends a tyre?", "xylophone"]
    batch = stage.search_batch(questions, 5)
    for question, hits in zip(questions, batch, strict=True):
        assert [hit.passage.id for hit in hits] == [hit.passage.id for hit in stage.search(question, 5)]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (hybrid(stages=[{"type": "fts"}]), "at least 2"),
        (hybrid(fuse={"weights": [1]}), "as many as there are stages, 2"),
        (hybrid(stages=[{"type": "fts"}, {"type": "steam"}]), "no retriever 'steam'"),
        (hybrid(stages=[{"type": "fts"}, {"type": "dense", "modl": 1}]), "unknown key 'modl'"),
        (StageSettings(type="neighbours", of={"type": "steam"}), "no retriever 'steam'"),
    ],
)
def test_what_is_wrong_inside_is_said(stage: StageSettings, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_stages(stage, StageSettings(type="none"))


def test_a_reranker_fuses_only_scores_that_its_candidates_have() -> None:
    rerank = StageSettings(type="colbert", fuse={"weights": {"fts": 1, "dens": 1}})
    with pytest.raises(UsageError, match=r"names 'dens', .* scores of colbert, dense, fts, hybrid"):
        check_stages(hybrid(), rerank)
    with pytest.raises(UsageError, match="names 'dense'"):
        check_stages(StageSettings(type="fts"), StageSettings(type="colbert", fuse={"weights": {"dense": 1}}))


def test_neighbours_bring_in_what_the_words_did_not_find(db: Path) -> None:
    words = {"type": "fts"}
    question = "boiling"
    plain = Pipeline.from_config(parse_config({"retrieve": words, "candidates": 5}, "words"), db)
    found = {hit.passage.id for hit in plain.search(question, 5).hits}
    near = {"type": "neighbours", "of": words, "seeds": 1, "each": 2}
    pipeline = Pipeline.from_config(parse_config({"retrieve": near, "candidates": 5}, "near"), db)
    hits = pipeline.search(question, 5).hits
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    new = [hit for hit in hits if "neighbours" in hit.scores]
    assert new
    assert found.isdisjoint(hit.passage.id for hit in new)
    assert {hit.passage.id for hit in hits} > found
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert pipeline.search("xylophone", 5).hits == ()
    assert set(pipeline.derived()) == {"fts", "neighbours"}
    plain.close()
    pipeline.close()


def test_two_stages_of_one_type_keep_their_scores_and_their_indexes_apart(db: Path) -> None:
    twice = [{"type": "dense"}, {"type": "dense", "codec": "float16"}, {"type": "fts"}]
    data = {
        "retrieve": {"type": "hybrid", "stages": twice},
        "rerank": {"type": "colbert", "fuse": {"weights": {"dense-2": 1, "colbert": 1}}},
    }
    pipeline = Pipeline.from_config(parse_config(data, "twice"), db)
    assert list(pipeline.derived()) == ["dense", "dense-2", "fts", "colbert"]
    built = build_index(pipeline)["stages"]
    assert (built["dense"], built["dense-2"]) == (0, pipeline.corpus.count("passages"))
    for hit in pipeline.search(QUESTION).hits:
        assert hit.scores["dense"] == pytest.approx(hit.scores["dense-2"], abs=0.01)
        assert hit.scores["dense"] != hit.scores["dense-2"]
    pipeline.close()


def test_while_another_writes_a_dense_question_is_answered_and_it_is_said(db: Path, tmp_path: Path) -> None:
    (tmp_path / "new.md").write_text("# New\n\nSomething new about tea.")
    fill(db, tmp_path / "new.md")
    notes: list[str] = []
    with Corpus.open(db) as corpus, Corpus.open(db) as other:
        stage = make_retriever(hybrid(), Resources(corpus, CPU, notes.append))
        with other.writing():
            assert stage.search(QUESTION, 3)
        assert any("1 new passages are not searched yet" in note for note in notes)
        assert any(hit.passage.document_id == "new.md" for hit in stage.search("something new", 3))


@pytest.mark.parametrize("weights", ["[-1, 1]", "[.nan, 1]", "[.inf, 1]"])
def test_weights_are_numbers_that_can_be_summed(weights: str) -> None:
    fuse = yaml.safe_load(f"weights: {weights}")
    with pytest.raises(UsageError, match=r"fuse\.weights\.0"):
        check_stages(hybrid(fuse=fuse), StageSettings(type="none"))


def test_the_match_expression_of_a_full_text_part_can_be_shown(db: Path) -> None:
    pipeline = Pipeline.from_config("default", db)
    assert pipeline.match_expression("green tea") == '"green" OR "tea"'
    pipeline.close()
