"""Quality on real data, where the folder of shared test data is there; skipped with a message where not."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from ragqa.evaluate.export import trec_qrels, trec_run
from ragqa.evaluate.matrix import run_matrix
from ragqa.evaluate.metrics import parse_metrics, values
from ragqa.evaluate.plan import Plan
from ragqa.evaluate.questions import load_questions
from ragqa.evaluate.runs import Run
from ragqa.evaluate.store import RunStore
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.sources import Fields
from tests.conftest import fill

pytestmark = pytest.mark.slow

# Characters: where a note says what it is about.
BEGINNING = 1_500


def ask_all(db: Path, config: str, questions: Path, runs: Path) -> Run:
    """Run a config over all questions, asking no model."""
    pipeline = Pipeline.from_config(config, db)
    plan = Plan(load_questions(questions), answers=False)
    with RunStore.open(runs, create=True) as store:
        (number,) = run_matrix([pipeline], plan, store)
        (run,) = store.find([str(number)])
    pipeline.close()
    return run


def test_full_text_reaches_the_published_quality_on_scifact(shared: Path, tmp_path: Path) -> None:
    # 5,183 abstracts are cut and indexed, 20 s: the published figure is of all of them.
    fill(tmp_path / "scifact.db", shared / "scifact")
    run = ask_all(tmp_path / "scifact.db", "fts", shared / "scifact", tmp_path / "runs.db")
    found = values(run, parse_metrics(["nDCG@10"]))["nDCG@10"]
    assert len(found) == 300
    # Published for BM25: .679 (BEIR, Anserini flat).
    assert fmean(found.values()) == pytest.approx(0.679, abs=0.01)


def test_exported_trec_files_give_the_same_figures_by_hand(shared: Path, tmp_path: Path) -> None:
    import ir_measures

    fill(tmp_path / "xquad.db", shared / "xquad_en")
    questions = shared / "xquad_en" / "questions.jsonl"
    run = ask_all(tmp_path / "xquad.db", "fts", questions, tmp_path / "runs.db")
    (tmp_path / "run.trec").write_text("\n".join(trec_run(run)))
    (tmp_path / "qrels.trec").write_text("\n".join(trec_qrels(run)))
    names = ["nDCG@10", "R@100", "RR@10", "AP", "P@5", "Success@5"]
    by_hand = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in names],
        list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.trec"))),
        list(ir_measures.read_trec_run(str(tmp_path / "run.trec"))),
    )
    found = values(run, parse_metrics(names))
    assert len(found["AP"]) == 1190
    for name in names:
        assert fmean(found[name].values()) == pytest.approx(by_hand[ir_measures.parse_measure(name)])


@pytest.fixture(scope="module")
def til(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every note that a question asks for, and the beginnings of every third of the others.

    Encoding all of all takes minutes; this takes half of one, since what is real is not small.
    """
    folder = tmp_path_factory.mktemp("til")
    path, notes = folder / "til.db", folder / "til.ndjson"
    asked = load_questions(shared / "til_questions.jsonl").questions
    wanted = {document for question in asked for document in question.relevant}
    lines = (shared / "til.ndjson").read_text(encoding="utf-8").splitlines()
    kept = []
    for number, note in enumerate(map(json.loads, lines)):
        if note["slug"] in wanted:
            kept.append(note)
        elif number % 3 == 0:
            kept.append({**note, "body": note["body"][:BEGINNING]})
    assert len(wanted) < len(kept) < len(lines) / 2
    notes.write_text("\n".join(map(json.dumps, kept)), encoding="utf-8")
    fields = Fields(id="slug", title="title", text=("body",), meta=("created", "topic"))
    fill(path, notes, fields=fields)
    pipeline = Pipeline.from_config("default", path)
    build_index(pipeline)
    pipeline.close()
    return path


def test_nine_of_ten_answerable_questions_find_their_note(shared: Path, til: Path, tmp_path: Path) -> None:
    run = ask_all(til, "fts-colbert", shared / "til_questions.jsonl", tmp_path / "runs.db")
    found = values(run, parse_metrics(["Success@5"]))["Success@5"]
    assert len(found) == 35
    assert fmean(found.values()) >= 0.9


def test_what_is_shot_scraper_is_answered_from_the_notes_on_it(til: Path) -> None:
    pipeline = Pipeline.from_config("default", til)
    answer = pipeline.ask("what is shot-scraper?", log=False)
    assert "shot-scraper" in answer.text.lower()
    assert answer.citations
    for citation in answer.citations:
        assert "shot-scraper" in citation.passage.text.lower()
    pipeline.close()
