"""`python -m tests.workshop.third_stage`: what the embedded cross-encoder adds to the first hits of
`default`.

It reads the first so many passages with the question, and its score is fused with that of `default`, each
brought to mean 0 and deviation 1 over those passages; what stands behind them stays behind them.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.onnx_engine import LeanPairs
from ragqa.evaluate.metrics import document_scores, ranked_documents, retrieval_measure
from ragqa.evaluate.questions import load_questions
from ragqa.pipeline import Pipeline
from ragqa.types import Hit
from tests.workshop.fitting import Column
from tests.workshop.fusions import METRIC, Candidates, Qrels

# How many passages are read, and what the cross-encoder's score weighs beside that of `default`.
READ = (5, 10, 20)
WEIGHTS = (0.5, 1.0, 2.0)
KEPT = 50


def third(hits: list[Hit], scores: list[float], weight: float) -> list[Hit]:
    """Return `hits` with the first len(scores) in the order of the fused scores."""
    first, rest = hits[: len(scores)], hits[len(scores) :]
    fused = _standard([hit.score for hit in first]) + weight * _standard(scores)
    order = np.argsort(-fused, kind="stable")
    moved = [*(first[place] for place in order), *rest]
    return [Hit(hit.passage, rank, -float(rank), hit.scores) for rank, hit in enumerate(moved, 1)]


def _standard(values: list[float]) -> Column:
    array = np.array(values, float)
    standard: Column = (array - array.mean()) / (array.std() or 1.0)
    return standard


def quality(found: Candidates, qrels: Qrels) -> float:
    """Return the mean nDCG@10 of hits as they stand."""
    import ir_measures

    ranked = {question: document_scores(ranked_documents(hits)) for question, hits in found.items()}
    measure = retrieval_measure(METRIC)
    return float(ir_measures.calc_aggregate([measure], qrels, ranked)[measure])


def table(
    collections: Annotated[list[str], typer.Argument(help="FOLDER=CORPUS: a BEIR folder and its corpus.")],
    sample: Annotated[int, typer.Option(help="Questions of each.")] = 200,
) -> None:
    """Print nDCG@10 without a third stage and with each, and what reading takes for a question."""
    print(f"| collection | passages read | ms | alone | {' | '.join(f'weight {w:g}' for w in WEIGHTS)} |")
    print("| --- | ---: | ---: | ---: |" + " ---: |" * len(WEIGHTS))
    reader = LeanPairs("embedded")
    for collection in collections:
        folder, _, db = collection.partition("=")
        questions = [q for q in load_questions(Path(folder)).sample(sample, 0).questions if q.judged]
        qrels = {q.id: {d: int(grade > 0) for d, grade in q.relevant.items()} for q in questions}
        found: dict[str, list[Hit]] = {}
        read: dict[str, list[float]] = {}
        times: dict[int, list[float]] = {count: [] for count in READ}
        name = Path(folder).name
        with show.progress(name) as advance, Pipeline.from_config("default", Path(db)) as pipeline:
            for done, question in enumerate(questions, 1):
                hits = list(pipeline.search(question.text, KEPT).hits)
                texts = [indexed_text(hit.passage)[0] for hit in hits]
                for count in READ:
                    start = time.perf_counter()
                    read[question.id] = reader.scores(question.text, texts[:count])
                    times[count].append((time.perf_counter() - start) * 1000)
                found[question.id] = hits
                advance(done, len(questions))
        for count in READ:
            cells = [
                quality({one: third(hits, read[one][:count], weight) for one, hits in found.items()}, qrels)
                for weight in WEIGHTS
            ]
            print(
                f"| {name} | {count} | {statistics.median(times[count]):.0f} |"
                f" {quality(found, qrels):.4f} | {' | '.join(f'{cell:.4f}' for cell in cells)} |",
                flush=True,
            )


if __name__ == "__main__":
    run(lambda: typer.run(table))
