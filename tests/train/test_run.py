from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragqa.config import Config, load_config, parse_config
from ragqa.corpus.database import Corpus
from ragqa.encoders.tokens import Vectors
from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.significance import compare
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.train import run
from ragqa.train.pairs import TrainingPair
from ragqa.train.request import TrainReport, TrainRequest
from ragqa.train.run import train
from ragqa.train.settings import colbert_model, with_model
from ragqa.train.training import TrainingSettings
from ragqa.train.trial import (
    MOST_QUESTIONS,
    QualityChange,
    Rival,
    held_back_questions,
    is_better,
    ranking_values,
)

pytestmark = pytest.mark.usefixtures("one_thread")

LEARNING = TrainingSettings(epochs=10, batch=8, rate=3e-3, lora=False)
HARMING = TrainingSettings(steps=3, batch=8, rate=3.0, lora=False)


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    return TrainRequest(tmp_path / "mine", training=LEARNING)


def compared(change: list[float], name: str = "held back") -> QualityChange:
    (difference,) = compare([("before", "after", np.array(change))], "nDCG@10")
    return QualityChange(name, 0.5, 0.6, difference)


class Lookup:
    """An encoder whose vectors are looked up."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors = vectors

    def encode_queries(self, texts: Any) -> list[Vectors]:
        return [np.array([self.vectors[text]], np.float32) for text in texts]

    encode_documents = encode_queries


def stopping_at(step: str) -> Any:
    """Return a `progress` during whose step of that name the user stops the run."""

    @contextmanager
    def progress(label: str) -> Any:
        if label == step:
            raise KeyboardInterrupt
        yield lambda done, total: None

    return progress


# -- what is better ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held_back", "asked", "better"),
    [
        ([0.2] * 12, None, True),
        ([0.2] * 12, [0.0, 0.1, -0.1], True),
        ([0.2] * 12, [-0.3] * 12, False),
        ([-0.2] * 12, None, False),
        ([0.2, -0.1, 0.1, -0.2, 0.1, 0.1], None, False),
        ([0.0] * 12, [0.3] * 12, False),
    ],
)
def test_better_is_more_than_chance_and_no_loss(
    held_back: list[float], asked: list[float] | None, better: bool
) -> None:
    assert is_better(compared(held_back), asked and compared(asked, "asked")) == better


def test_an_answer_is_ranked_among_the_passages_of_other_documents() -> None:
    pair = TrainingPair("question", "a#0", "a", "answer", "test", ("a", "b"))
    encoder = Lookup({"question": [1.0], "answer": [0.5], "good": [0.9], "better": [0.95], "bad": [0.1]})
    rivals = [Rival("a", "better"), Rival("b", "better"), Rival("c", "good"), Rival("d", "bad")]
    (value,) = ranking_values(encoder, [pair], rivals)  # type: ignore[arg-type]
    assert value == pytest.approx(1 / math.log2(3))
    (value,) = ranking_values(encoder, [pair], rivals[:2])  # type: ignore[arg-type]
    assert value == 1


def test_questions_held_back_are_asked_once_and_spread_over_all() -> None:
    pairs = [TrainingPair(f"q{number // 2}", "a#0", "a", "text", "test", ("a",)) for number in range(1000)]
    asked = [pair.query for pair in held_back_questions(pairs)]
    assert len(set(asked)) == len(asked) == MOST_QUESTIONS
    assert (asked[0], asked[-1]) == ("q0", "q498")


def test_an_answer_below_the_first_ten_is_worth_nothing() -> None:
    pair = TrainingPair("question", "a#0", "a", "answer", "test", ("a",))
    good = {f"good {number}": [0.9] for number in range(10)}
    encoder = Lookup({"question": [1.0], "answer": [0.5], **good})
    rivals = [Rival("c", text) for text in good]
    assert ranking_values(encoder, [pair], rivals).tolist() == [0]  # type: ignore[arg-type]
    (tenth,) = ranking_values(encoder, [pair], rivals[1:])  # type: ignore[arg-type]
    assert tenth == pytest.approx(1 / math.log2(11))


# -- configs ----------------------------------------------------------------------------------


def test_the_colbert_stage_names_the_base_and_gets_the_result(tmp_path: Path) -> None:
    config = load_config("default")
    assert colbert_model(config) == "embedded"
    changed = with_model(config, tmp_path, "mine")
    assert colbert_model(changed) == str(tmp_path)
    assert changed.rerank.options["fuse"] == config.rerank.options["fuse"]
    assert changed.retrieve == config.retrieve
    assert colbert_model(with_model(load_config("colbert-exact"), tmp_path, "mine")) == str(tmp_path)


def test_a_config_without_a_place_for_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^The config fts has no ColBERT stage"):
        colbert_model(load_config("fts"))
    with pytest.raises(UsageError, match="kind shortlist is for the embedded model"):
        with_model(load_config("colbert-shortlist"), tmp_path, "mine")


def test_stages_within_stages_get_it_too(tmp_path: Path) -> None:
    first = {"type": "hybrid", "stages": [{"type": "fts"}, {"type": "colbert-index", "kind": "exact"}]}
    config = parse_config({"retrieve": first}, "mixed")
    assert with_model(config, tmp_path, "mine").retrieve.options["stages"][1]["model"] == str(tmp_path)


# -- runs -------------------------------------------------------------------------------------


def test_a_better_checkpoint_is_installed_with_a_config_that_works(
    puzzles: Pipeline, request_: TrainRequest
) -> None:
    # What was trained in the same place, by the same process, is not taken for it.
    assert not train(puzzles, replace(request_, training=HARMING)).better
    report = train(puzzles, request_)
    assert report.better
    assert report.installed
    (comparison,) = report.comparisons
    assert comparison.after > comparison.before + 0.1
    assert not request_.work.exists()
    config = load_config(str(request_.folder / "config.yaml"))
    assert config.rerank.options["model"] == str(request_.folder)
    installed = Pipeline(config, puzzles.corpus)
    build_index(installed)
    found = installed.search("tea tyre beans")
    assert found.hits[0].scores.keys() >= {"fts", "colbert"}
    said = (request_.folder / "config.yaml").read_text()
    assert said.startswith("# held back, ")
    assert json.loads((request_.folder / "training.json").read_text())["seed"] == 0


def test_a_worse_checkpoint_is_kept_aside_until_it_is_forced(
    puzzles: Pipeline, request_: TrainRequest
) -> None:
    worse = replace(request_, training=HARMING)
    report = train(puzzles, worse)
    assert not report.better
    assert not report.installed
    assert not worse.folder.exists()
    assert (worse.work / "model" / "model.safetensors").is_file()
    forced = train(puzzles, replace(worse, resume=True, force=True))
    assert forced.installed
    assert not forced.better
    assert forced.comparisons == report.comparisons
    assert worse.folder.is_dir()


def test_a_run_goes_on_where_it_was_stopped(
    puzzles: Pipeline, request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(request_, training=TrainingSettings(steps=4, batch=8), force=True)

    with pytest.raises(KeyboardInterrupt):
        train(puzzles, short, stopping_at("Training"))
    with pytest.raises(UsageError, match="holds a training that was stopped: --resume goes on with it"):
        train(puzzles, short)
    other = replace(short, training=TrainingSettings(steps=4, batch=8, seed=1), negatives=2, resume=True)
    with pytest.raises(UsageError, match="was begun with another negatives, seed: leave out --resume"):
        train(puzzles, other)
    # Pairs are not made a second time.
    monkeypatch.setattr(run, "mine", None)
    assert train(puzzles, replace(short, resume=True)).installed


def test_there_must_be_something_to_go_on_with(puzzles: Pipeline, request_: TrainRequest) -> None:
    with pytest.raises(UsageError, match="^There is no training of .*mine to go on with"):
        train(puzzles, replace(request_, resume=True))


def test_a_folder_that_is_there_is_left_alone(puzzles: Pipeline, request_: TrainRequest) -> None:
    request_.folder.mkdir()
    with pytest.raises(UsageError, match="mine is there already"):
        train(puzzles, request_)
    with pytest.raises(UsageError, match="^There is no folder"):
        train(puzzles, replace(request_, folder=request_.folder / "deep" / "er"))


def test_questions_are_compared_by_and_not_trained_on(
    puzzles: Pipeline, request_: TrainRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = tmp_path / "questions.jsonl"
    rows = [{"question": f"{a} {b} beans", "relevant": [f"{a}-{b}-beans.md"]} for a, b in [("tea", "tyre")]]
    questions.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match="cannot be both trained on and compared by"):
        train(puzzles, replace(request_, sources=(str(questions),), compare=questions))
    before = puzzles.corpus.state()
    short = TrainingSettings(steps=2, batch=8)
    request = replace(request_, training=short, compare=questions, force=True)
    with pytest.raises(KeyboardInterrupt):
        train(puzzles, request, stopping_at("Asking"))
    # What was trained and compared is not done a second time.
    monkeypatch.setattr(run, "train_model", None)
    monkeypatch.setattr(run, "compare_held_back", None)
    report = train(puzzles, replace(request, resume=True))
    assert [comparison.questions for comparison in report.comparisons] == [tmp_path.name, "held back"][::-1]
    assert report.comparisons[1].difference.mean.count == 1
    # The title that is the question is none of the pairs: 56 titles, of which one is asked.
    assert sum(report.origins.values()) + report.held_back_pairs == 55
    assert puzzles.corpus.state()[1] == before[1]


def test_a_base_that_cannot_be_loaded_is_said_before_anything_is_done(
    puzzles: Pipeline, request_: TrainRequest, tmp_path: Path
) -> None:
    wrong = replace(request_, base=str(tmp_path / "nowhere"))
    with pytest.raises(RagqaError, match="The ColBERT checkpoint .*nowhere cannot be loaded"):
        train(puzzles, wrong, stopping_at("Mining negatives"))
    assert not wrong.work.exists()


def test_a_source_that_is_not_there_is_said(puzzles: Pipeline, request_: TrainRequest) -> None:
    with pytest.raises(UsageError, match="nowhere.jsonl cannot be read as questions"):
        train(puzzles, replace(request_, sources=("nowhere.jsonl",)))
    # What was begun is in nobody's way.
    with pytest.raises(RagqaError, match="There is no model 'nobody'"):
        train(puzzles, replace(request_, sources=("model:nobody",)))


def test_question_sets_and_models_are_sources_too(
    puzzles: Pipeline,
    request_: TrainRequest,
    tmp_path: Path,
    fake_models: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake_models.answering, "answer", ["Which of them is it that was asked for?"])
    questions = tmp_path / "asked.jsonl"
    names = [path[:-3] for (path,) in puzzles.corpus.connection.execute("SELECT id FROM documents LIMIT 40")]
    rows = [{"question": f"where is {name.replace('-', ' ')}?", "relevant": [f"{name}.md"]} for name in names]
    questions.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr("ragqa.train.written.FEWEST_WORDS", 3)
    short = TrainingSettings(steps=2, batch=8)
    sources = ("headings", str(questions), "model:fake")
    report: TrainReport = train(
        puzzles, replace(request_, sources=sources, training=short, written=10, force=True)
    )
    assert set(report.origins) == {"headings", "asked", "model:fake"}
    assert 5 <= report.origins["model:fake"] <= 10


def test_any_config_of_a_pipeline_is_the_one_compared(small: Path, puzzles_db: Path) -> None:
    with Corpus.open(puzzles_db) as corpus:
        config: Config = load_config("fts")
        with pytest.raises(UsageError, match="has no ColBERT stage"):
            train(Pipeline(config, corpus), TrainRequest(small.parent / "mine"))
