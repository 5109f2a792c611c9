"""How well a pipeline's ranking agrees with the judgements, through ir-measures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion
from ragqa.pipeline import Pipeline
from ragqa.types import Hit

# Passages asked for per question, unless the config reranks fewer. They stand for fewer documents,
# so that recall at 100 is a little less than 100 documents would have.
DEPTH = 100


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean metrics over the questions with a relevant document, and the median time per question."""

    config: str
    questions: int
    metrics: dict[str, float]
    median_ms: float


def evaluate(
    pipeline: Pipeline,
    questions: Sequence[JudgedQuestion],
    metrics: Sequence[str],
    on_question: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Return the metrics (any name that ir-measures knows) of `pipeline` over `questions`.

    Any grade above 0 is relevant. A passage counts for its document, a document for its best passage.
    Questions without a relevant document are left out; one that finds nothing scores zero. Raises
    UsageError for an unknown metric.
    """
    import ir_measures

    try:
        measures = [ir_measures.parse_measure(name) for name in metrics]
    except (NameError, ValueError, SyntaxError) as error:
        raise UsageError(f"ir-measures does not know one of {', '.join(metrics)}: {error}.") from error
    judged = [question for question in questions if any(grade > 0 for grade in question.relevant.values())]
    if not judged:
        raise UsageError("None of the questions names a relevant document, so there is nothing to measure.")
    run: dict[str, dict[str, float]] = {}
    times = []
    for done, question in enumerate(judged, 1):
        start = time.perf_counter()
        result = pipeline.search(question.text, min(DEPTH, pipeline.config.candidates))
        times.append((time.perf_counter() - start) * 1000)
        run[question.id] = document_scores(result.hits)
        on_question(done, len(judged))
    qrels = {question.id: {d: int(g > 0) for d, g in question.relevant.items()} for question in judged}
    values = ir_measures.calc_aggregate(measures, qrels, run)
    return Evaluation(
        config=pipeline.config.name,
        questions=len(judged),
        metrics={name: float(values[measure]) for name, measure in zip(metrics, measures, strict=True)},
        median_ms=statistics.median(times),
    )


def document_scores(hits: Sequence[Hit]) -> dict[str, float]:
    """Return a score per document that falls with the rank of its best passage.

    Made from ranks, because a tool that sorts by score must find the order that was shown.
    """
    scores: dict[str, float] = {}
    for hit in hits:
        scores.setdefault(hit.passage.document_id, 1.0 / hit.rank)
    return scores
