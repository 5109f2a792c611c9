"""`python -m tests.workshop.fusions`: which fusion of full text, embeddings and ColBERT to ship.

Every setting fuses the same candidates, so that each question is searched once. What a setting is
worth on collections that it was not chosen on is shown by leaving each collection out in turn.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.config import parse_config
from ragqa.evaluate.metrics import document_scores, ranked_documents, retrieval_measure
from ragqa.evaluate.questions import load_questions
from ragqa.evaluate.runs import DEPTH
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.search.fusion import StageFusion, fuse_stages
from ragqa.types import Hit

METRIC = "nDCG@10"
STAGES = ("fts", "dense", "colbert")
WEIGHTS = ((1, 1, 1), (1, 1, 2), (1, 2, 1), (1, 2, 2), (1, 2, 3), (1, 3, 3), (1, 3, 4), (1, 1, 4), (1, 0, 2))
CONFIG = parse_config(
    {
        "retrieve": {"type": "hybrid", "stages": [{"type": "fts"}, {"type": "dense"}]},
        "candidates": DEPTH,
        "rerank": {"type": "colbert"},
    },
    "fusions",
)

Candidates = Mapping[str, Sequence[Hit]]
Qrels = Mapping[str, Mapping[str, int]]


def settings() -> dict[str, StageFusion]:
    """Return the fusions that are compared, by a name that says what they are."""
    return {
        f"{by} {':'.join(f'{weight:g}' for weight in weights)}": StageFusion(
            by="ranks" if by == "ranks" else "scores", weights=dict(zip(STAGES, weights, strict=True))
        )
        for by, weights in itertools.product(("ranks", "scores"), WEIGHTS)
    }


def fused_quality(candidates: Candidates, qrels: Qrels, fusion: StageFusion) -> float:
    """Return the mean nDCG@10 of the fused candidates."""
    import ir_measures

    ranked = {
        question: document_scores(ranked_documents(fuse_stages(hits, fusion, DEPTH)))
        for question, hits in candidates.items()
    }
    measure = retrieval_measure(METRIC)
    return float(ir_measures.calc_aggregate([measure], qrels, ranked)[measure])


def leave_one_out(quality: Mapping[str, Sequence[float]], left_out: int) -> str:
    """Return the setting with the best mean over all collections but one."""
    return max(
        quality,
        key=lambda name: statistics.fmean(
            value for place, value in enumerate(quality[name]) if place != left_out
        ),
    )


def table(
    collections: Annotated[
        list[str], typer.Argument(help="QUESTIONS=CORPUS: a BEIR folder or file, its corpus.")
    ],
    sample: Annotated[int, typer.Option(help="Questions of each collection at most.")] = 500,
) -> None:
    """Print nDCG@10 of every setting on every collection, and what is chosen with each left out."""
    quality: dict[str, list[float]] = {name: [] for name in settings()}
    names = []
    for collection in collections:
        folder, _, db = collection.partition("=")
        names.append(Path(folder).name)
        candidates, qrels = _candidates(Path(folder), Path(db), sample)
        for name, fusion in settings().items():
            quality[name].append(fused_quality(candidates, qrels, fusion))
    print(f"| {':'.join(STAGES)} | {' | '.join(names)} | mean |")
    print("| --- |" + " ---: |" * (len(names) + 1))
    for name, values in quality.items():
        cells = " | ".join(f"{value:.4f}" for value in values)
        print(f"| {name} | {cells} | {statistics.fmean(values):.4f} |")
    for place, name in enumerate(names if len(names) > 1 else ()):
        chosen = leave_one_out(quality, place)
        best = max(values[place] for values in quality.values())
        print(f"Without {name}, {chosen} is chosen: {quality[chosen][place]:.4f} there, the best {best:.4f}.")


def _candidates(folder: Path, db: Path, sample: int) -> tuple[Candidates, Qrels]:
    """Return the candidates of each question with their scores of all stages, and the judgements."""
    questions = [q for q in load_questions(folder).sample(sample, 0).questions if q.judged]
    pipeline = Pipeline.from_config(CONFIG, db)
    with show.progress(folder.name) as advance:
        build_index(pipeline, on_passages=advance)
        candidates = {}
        for done, question in enumerate(questions, 1):
            candidates[question.id] = pipeline.search(question.text, DEPTH).hits
            advance(done, len(questions))
    pipeline.close()
    return candidates, {q.id: {d: int(grade > 0) for d, grade in q.relevant.items()} for q in questions}


if __name__ == "__main__":
    run(lambda: typer.run(table))
