from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ragqa.config import ChunkSettings, Config, load_config, parse_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import corpus_chunking
from ragqa.encoders.onnx_engine import LeanEncoder
from ragqa.encoders.tokens import Vectors
from ragqa.errors import UsageError
from ragqa.evaluate.metrics import document_scores, ranked_documents
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import DEPTH
from ragqa.evaluate.tune import SHIPPED, Trial, Tuned, TuneSettings, split, tune
from ragqa.evaluate.tuning.copies import copies_folder, working_copy
from ragqa.evaluate.tuning.space import Space
from ragqa.pipeline import Pipeline
from ragqa.retrieve.fts import FullTextRetriever
from ragqa.types import Hit

ASKED = [
    ("How coarse are beans ground for a French press?", "coffee.md", "coffee"),
    ("How many grams of beans for a litre of water?", "coffee.md", "coffee"),
    ("How hot is the water that coffee is brewed with?", "coffee.md", "coffee"),
    ("What does a paper filter want?", "coffee.md", "coffee"),
    ("How is a flat tyre mended?", "bicycle.md", "other"),
    ("How often does the chain want oil?", "bicycle.md", "other"),
    ("Which tool pumps air into a wheel?", "bicycle.md", "other"),
    ("How long is green tea steeped?", "tea.html", "other"),
    ("Which leaves want boiling water?", "tea.html", "other"),
    ("Which temperature does the kettle heat to?", "tea.html", "other"),
    ("How much sun do tomatoes need?", "garden.txt", "other"),
    ("When are the roots of plants watered?", "garden.txt", "other"),
]
QUESTIONS = QuestionSet(
    "notes",
    tuple(
        JudgedQuestion(str(place), text, {document: 1}, type=kind)
        for place, (text, document, kind) in enumerate(ASKED)
    ),
)
SETTINGS = TuneSettings(metric="RR@10", budget=16)


def judged_otherwise(question_set: QuestionSet, relevant: dict[str, int]) -> QuestionSet:
    """Return the set with other judgements for the questions that are held back."""
    _, held_back = split(question_set.questions, SETTINGS.held_back, SETTINGS.seed)
    return replace(
        question_set,
        questions=tuple(
            replace(question, relevant=relevant) if question in held_back else question
            for question in question_set.questions
        ),
    )


def mean_through_search(corpus: Corpus, config: Config, questions: list[JudgedQuestion]) -> float:
    import ir_measures

    pipeline = Pipeline(config, corpus)
    found = {
        question.id: document_scores(
            ranked_documents(pipeline.search(question.text, min(DEPTH, config.candidates)).hits)
        )
        for question in questions
    }
    measure = ir_measures.parse_measure(SETTINGS.metric)
    qrels = {question.id: question.relevant for question in questions}
    return float(ir_measures.calc_aggregate([measure], qrels, found)[measure])


@pytest.fixture(scope="module")
def tuned(indexed_notes: Path) -> Tuned:
    with Corpus.open(indexed_notes) as corpus:
        return tune(corpus, QUESTIONS, SETTINGS)


@pytest.mark.needs("tune")
def test_the_shipped_configs_are_tried_first(tuned: Tuned) -> None:
    assert [trial.number for trial in tuned.trials] == list(range(16))
    assert tuple(trial.config.name for trial in tuned.trials[: len(SHIPPED)]) == SHIPPED
    for trial in tuned.trials[: len(SHIPPED)]:
        assert trial.config == load_config(trial.config.name)


def test_every_trial_keeps_the_condition_of_the_baseline() -> None:
    space = Space((ChunkSettings(),), where="topic = 'tea'")
    assert (
        space.config({"first": "fts", "rerank": "none", "title": 1, "headings": 1}, "a").where == space.where
    )


@pytest.mark.needs("tune")
def test_no_config_is_tried_twice(tuned: Tuned) -> None:
    space = Space((ChunkSettings(),))
    points = [space.point(trial.config) for trial in tuned.trials]
    assert None not in points
    assert len({repr(point) for point in points}) == len(points) == SETTINGS.budget


@pytest.mark.needs("tune")
def test_the_search_ends_where_only_repeats_are_left(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Space, "suggest", lambda self, trial: {"first": "dense", "rerank": "none"})
    assert len(tune(corpus, QUESTIONS, SETTINGS).trials) == len(SHIPPED)


@pytest.mark.needs("tune")
def test_a_trial_is_worth_what_the_pipeline_finds_with_its_config(tuned: Tuned, corpus: Corpus) -> None:
    tuning, held_back = split(QUESTIONS.questions, SETTINGS.held_back, SETTINGS.seed)
    kinds = {(trial.config.retrieve.type, trial.config.rerank.type) for trial in tuned.trials}
    assert len(kinds) > 4
    for trial in tuned.trials:
        assert trial.value == pytest.approx(mean_through_search(corpus, trial.config, tuning))
    held = [mean_through_search(corpus, config, held_back) for config in (tuned.best, tuned.baseline)]
    assert [tuned.best_held_back, tuned.baseline_held_back] == pytest.approx(held)
    assert tuned.difference.mean.value == pytest.approx(held[0] - held[1])
    assert tuned.difference.mean.count == tuned.held_back_questions == len(held_back)


@pytest.mark.needs("tune")
def test_the_best_has_the_highest_value_and_is_the_cheapest_of_its_equals(tuned: Tuned) -> None:
    assert tuned.best_tuning == max(trial.value for trial in tuned.trials)
    equals = [trial.config for trial in tuned.trials if trial.value == tuned.best_tuning]
    if any(config.rerank.type == "none" for config in equals):
        assert tuned.best.rerank.type == "none"
    same_reranker = [config for config in equals if config.rerank.type == tuned.best.rerank.type]
    assert tuned.best.candidates == min(config.candidates for config in same_reranker)


@pytest.mark.needs("tune")
def test_the_file_reads_back_and_says_what_it_is_worth(tuned: Tuned, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(tuned.yaml())
    assert load_config(str(path)) == tuned.best
    comments = [line for line in tuned.yaml().splitlines() if line.startswith("# ")]
    assert comments[0] == "# The best of 16 configs for notes by RR@10."
    assert f"RR@10 {tuned.best_held_back:.4f}, default {tuned.baseline_held_back:.4f}" in comments[2]
    assert "95% interval" in comments[3]
    assert "p = " in comments[3]
    # A name that would end the comment cannot.
    path.write_text(replace(tuned, question_set="a\nb: c").yaml())
    assert load_config(str(path)) == tuned.best


@pytest.mark.needs("tune")
def test_a_seed_gives_the_same_trials_and_each_is_told(tuned: Tuned, corpus: Corpus) -> None:
    told: list[tuple[Trial, int]] = []
    again = tune(corpus, QUESTIONS, SETTINGS, on_trial=lambda trial, budget: told.append((trial, budget)))
    assert again == tuned
    assert told == [(trial, 16) for trial in tuned.trials]
    other = tune(corpus, QUESTIONS, replace(SETTINGS, seed=1))
    assert [trial.config for trial in other.trials] != [trial.config for trial in tuned.trials]


@pytest.mark.needs("tune")
def test_what_is_held_back_does_not_decide(tuned: Tuned, corpus: Corpus) -> None:
    changed = tune(corpus, judged_otherwise(QUESTIONS, {"garden.txt": 1}), SETTINGS)
    assert changed.best == tuned.best
    assert changed.trials == tuned.trials
    assert changed.best_held_back != tuned.best_held_back


@pytest.mark.needs("tune")
def test_each_question_is_searched_and_encoded_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: Counter[tuple[str, float, float]] = Counter()
    encoded: Counter[str] = Counter()
    search_fts = FullTextRetriever.search

    def counted(self: FullTextRetriever, query: str, k: int) -> list[Hit]:
        searched[query, self.settings.weights.title, self.settings.weights.headings] += 1
        return search_fts(self, query, k)

    encode = LeanEncoder.encode_queries

    def counted_texts(self: LeanEncoder, texts: Sequence[str]) -> list[Vectors]:
        encoded.update(texts)
        return encode(self, texts)

    monkeypatch.setattr(FullTextRetriever, "search", counted)
    monkeypatch.setattr(LeanEncoder, "encode_queries", counted_texts)
    tune(corpus, QUESTIONS, replace(SETTINGS, budget=8))
    assert set(searched.values()) == set(encoded.values()) == {1}
    assert set(encoded) == {question.text for question in QUESTIONS.questions}


@pytest.mark.needs("tune")
def test_the_search_stops_where_the_budget_is_spent(corpus: Corpus) -> None:
    tuned = tune(corpus, QUESTIONS, replace(SETTINGS, budget=2, baseline="hybrid"))
    assert [trial.config.name for trial in tuned.trials] == ["fts", "dense"]
    assert tuned.baseline.name == "hybrid"
    assert tuned.best.name == "tuned"
    same = tune(corpus, QUESTIONS, replace(SETTINGS, budget=1, baseline="fts")).difference
    assert (same.mean.value, same.p, same.wins, same.losses) == (0.0, 1.0, 0, 0)


@pytest.mark.needs("tune")
def test_other_passage_sizes_are_tried_on_copies_that_are_kept(corpus: Corpus) -> None:
    before = corpus.fingerprint()
    tuned = tune(corpus, QUESTIONS, replace(SETTINGS, budget=24, chunks=(24, 200, 24)))
    assert {trial.config.chunk.tokens for trial in tuned.trials} == {200, 24}
    assert corpus.fingerprint() == before
    (path,) = copies_folder().glob("*.db")
    written = path.stat().st_mtime_ns
    tuning, _ = split(QUESTIONS.questions, SETTINGS.held_back, SETTINGS.seed)
    with working_copy(corpus, ChunkSettings(tokens=24)) as copy:
        assert corpus_chunking(copy) == ChunkSettings(tokens=24)
        assert copy.count("passages") > corpus.count("passages")
        recut = [trial for trial in tuned.trials if trial.config.chunk.tokens == 24]
        for trial in recut[:5]:
            value = mean_through_search(copy, trial.config, tuning)
            assert trial.value == pytest.approx(value)
    assert path.stat().st_mtime_ns == written
    corpus.remove(["garden.txt"])
    with working_copy(corpus, ChunkSettings(tokens=24)) as copy:
        assert copy.path != path
        assert copy.count("documents") == 3
    assert not list(copies_folder().glob("*.part*"))


@pytest.mark.needs("tune")
def test_a_corpus_cut_otherwise_is_tuned_as_it_is_cut(tmp_path: Path, corpus: Corpus) -> None:
    with working_copy(corpus, ChunkSettings(tokens=32, overlap=4)) as other:
        tuned = tune(other, QUESTIONS, replace(SETTINGS, budget=6))
    assert tuned.best.chunk == tuned.baseline.chunk == ChunkSettings(tokens=32, overlap=4)
    path = tmp_path / "best.yaml"
    path.write_text(tuned.yaml())
    assert load_config(str(path)) == tuned.best


def test_the_parts_have_the_types_alike() -> None:
    questions = [JudgedQuestion(str(n), "?", {"d": 1}, type="rare" if n % 5 == 0 else "") for n in range(100)]
    tuning, held_back = split(questions, 0.4, 0)
    assert len(tuning) == 60
    assert sum(question.type == "rare" for question in held_back) == 8
    assert {q.id for q in tuning} | {q.id for q in held_back} == {q.id for q in questions}
    assert split(questions, 0.4, 0) == (tuning, held_back)
    assert split(questions, 0.4, 1) != (tuning, held_back)


@pytest.mark.needs("tune")
def test_what_is_too_little_or_wrong_is_said(corpus: Corpus) -> None:
    asked = QUESTIONS.questions
    few = replace(QUESTIONS, questions=(*asked[:9], JudgedQuestion("x", "Not judged?", {})))
    elsewhere = replace(
        QUESTIONS,
        questions=tuple(replace(question, relevant={"no.md": 1}) for question in QUESTIONS.questions),
    )
    for questions, settings, message in [
        (few, SETTINGS, "notes has 9 questions with a relevant document"),
        (elsewhere, SETTINGS, "None of the documents that notes names"),
        (QUESTIONS, replace(SETTINGS, held_back=0.0), "too few on one side"),
        (QUESTIONS, replace(SETTINGS, held_back=1.5), "too few on one side"),
        (QUESTIONS, replace(SETTINGS, metric="EM"), "EM is no metric of retrieval"),
        (QUESTIONS, replace(SETTINGS, metric="nonsense@3"), "no metric"),
        (QUESTIONS, replace(SETTINGS, budget=0), "at least one must be tried"),
        (QUESTIONS, replace(SETTINGS, chunks=(4,)), "A passage size is wrong: tokens"),
        (QUESTIONS, replace(SETTINGS, baseline="no-such"), "no config"),
    ]:
        with pytest.raises(UsageError, match=message):
            tune(corpus, questions, settings)


@pytest.mark.needs("tune")
def test_a_corpus_without_documents_is_said(tmp_path: Path) -> None:
    with (
        Corpus.open(tmp_path / "empty.db", create=True) as corpus,
        pytest.raises(UsageError, match="is empty"),
    ):
        tune(corpus, QUESTIONS, SETTINGS)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_is_a_point_that_makes_the_same_config(name: str) -> None:
    space = Space((ChunkSettings(),))
    config = load_config(name)
    point = space.point(config)
    assert point is not None
    assert space.point(space.config(point, name)) == point
    assert space.config(point, name).candidates == config.candidates


@pytest.mark.parametrize(
    "data",
    [
        {"retrieve": {"type": "colbert-index"}},
        {"retrieve": {"type": "fts", "tokenizer": "trigram"}},
        {"retrieve": {"type": "fts", "weights": {"title": 100}}},
        {"retrieve": {"type": "fts"}, "candidates": 50},
        {"retrieve": {"type": "fts"}, "rerank": {"type": "colbert"}, "candidates": 30},
        {"retrieve": {"type": "dense"}, "rerank": {"type": "colbert", "codec": "int8"}},
        {"retrieve": {"type": "hybrid", "stages": [{"type": "dense"}, {"type": "fts"}]}},
        {"retrieve": {"type": "fts"}, "chunk": {"tokens": 100}},
    ],
)
def test_a_config_that_is_not_in_the_space_has_no_point(data: dict[str, object]) -> None:
    assert Space((ChunkSettings(),)).point(parse_config(data, "other")) is None
