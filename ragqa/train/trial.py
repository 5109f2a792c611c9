"""Before and after: what a training is worth on pairs held back from it, and on a question set."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragqa.config import Config
from ragqa.corpus.database import Corpus, batches
from ragqa.encoders.tokens import TokenEncoder
from ragqa.errors import RagqaError
from ragqa.evaluate.questions import QuestionSet
from ragqa.evaluate.significance import CONFIDENCE, Difference, compare
from ragqa.index.maxsim import best_of, offsets_of
from ragqa.pipeline import Pipeline
from ragqa.train.pairs import OnPair, TrainingPair

METRIC = "nDCG@10"
DEPTH = 10
# Questions held back that are asked, and the passages that their answers must be found among.
MOST_QUESTIONS, MOST_PASSAGES = 300, 1500
# Passages encoded at a time, and questions compared with them at a time.
PASSAGES, QUESTIONS = 128, 32

Progress = Callable[[str], AbstractContextManager[Callable[[int, int | None], None]]]


@dataclass(frozen=True, slots=True)
class Rival:
    """A passage that an answer must be ranked before: its text as an encoder reads it."""

    document_id: str
    text: str


@dataclass(frozen=True, slots=True)
class QualityChange:
    """The means of one metric before and after, and the paired difference, after less before."""

    questions: str
    before: float
    after: float
    difference: Difference


def is_better(held_back: QualityChange, asked: QualityChange | None) -> bool:
    """Tell whether a checkpoint is to replace its base.

    It must rank held-back answers higher, by more than chance (p < .05), and must not lose significantly
    on the question set, where there is one.
    """
    found = held_back.difference
    gained = found.mean.value > 0 and found.p < 1 - CONFIDENCE
    lost = asked is not None and asked.difference.significant and asked.difference.mean.value < 0
    return gained and not lost


def held_back_questions(pairs: Sequence[TrainingPair]) -> list[TrainingPair]:
    """Return the pairs that are asked: each question once, and no more than tell the difference."""
    unique = list({pair.query: pair for pair in reversed(pairs)}.values())[::-1]
    count = min(len(unique), MOST_QUESTIONS)
    return [unique[place * len(unique) // count] for place in range(count)]


def ranking_values(
    encoder: TokenEncoder,
    pairs: Sequence[TrainingPair],
    rivals: Sequence[Rival],
    on_passages: OnPair = lambda done, total: None,
) -> NDArray[np.float64]:
    """Return nDCG@10 of each pair's question: where MaxSim ranks its passage among those of other documents.

    Other passages of relevant documents do not count: they carry the title, which may be the question.
    """
    questions = encoder.encode_queries([pair.query for pair in pairs])
    texts = list(dict.fromkeys([*(pair.text for pair in pairs), *(rival.text for rival in rivals)]))
    # Passages of like length share a batch, so that little is padding.
    order = sorted(texts, key=len, reverse=True)
    scores: dict[str, NDArray[np.float32]] = {}
    for batch in batches(order, PASSAGES):
        matrix = _maxsim(questions, encoder.encode_documents(batch))
        scores.update(zip(batch, matrix, strict=True))
        on_passages(len(scores), len(texts))
    values = []
    for place, pair in enumerate(pairs):
        own = scores[pair.text][place]
        above = {
            rival.text
            for rival in rivals
            if rival.document_id not in pair.relevant and scores[rival.text][place] > own
        }
        values.append(1 / math.log2(2 + len(above)) if len(above) < DEPTH else 0.0)
    return np.array(values)


def compare_held_back(
    encoders: Sequence[TokenEncoder],
    names: Sequence[str],
    pairs: Sequence[TrainingPair],
    rivals: Sequence[Rival],
    progress: Progress,
) -> QualityChange:
    """Return what two encoders, before and after, are worth on pairs held back."""
    values = []
    for encoder, name in zip(encoders, names, strict=True):
        with progress(f"Held back, {name}") as advance:
            values.append(ranking_values(encoder, pairs, rivals, advance))
    before, after = values
    (difference,) = compare([(names[0], names[1], after - before)], METRIC)
    return QualityChange("held back", float(before.mean()), float(after.mean()), difference)


def compare_configs(
    configs: Sequence[Config], corpus: Corpus, questions: QuestionSet, work: Path, progress: Progress
) -> QualityChange:
    """Return what two configs, before and after, are worth on a question set.

    They search a copy of the corpus, which then has the vectors of both: the corpus itself is left alone.
    """
    from ragqa.evaluate.comparison import compare_runs, summarise
    from ragqa.evaluate.matrix import run_matrix
    from ragqa.evaluate.metrics import parse_metrics
    from ragqa.evaluate.plan import Plan
    from ragqa.evaluate.store import RunStore
    from ragqa.operations.corpus import build_index

    path = work / "corpus.db"
    _copy(corpus, path)
    with Corpus.open(path) as copy, RunStore.open(work / "runs.db", create=True) as store:
        pipelines = [Pipeline(config, copy) for config in configs]
        for pipeline in pipelines:
            with progress(f"Indexing for {pipeline.config.name}") as advance:
                build_index(pipeline, on_passages=advance)
        with progress("Asking") as advance:
            plan = Plan(questions, answers=False)
            numbers = run_matrix(pipelines, plan, store, lambda so_far: advance(so_far.done, so_far.total))
        runs = store.find([str(number) for number in numbers])
    (difference,) = compare_runs(runs, [METRIC])
    before, after = (row.means[METRIC].value for row in summarise(runs, parse_metrics([METRIC])))
    return QualityChange(questions.name, before, after, difference)


def _copy(corpus: Corpus, path: Path) -> None:
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as copy:
            corpus.connection.backup(copy)
    except sqlite3.Error as error:
        raise RagqaError(f"A copy of the corpus cannot be made at {path}: {error}.") from error


def _maxsim(
    questions: Sequence[NDArray[np.float32]], documents: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the MaxSim of every document with every question, shape (documents, questions)."""
    tokens, offsets = np.concatenate(documents), offsets_of(list(map(len, documents)))
    columns = []
    for batch in batches(questions, QUESTIONS):
        best = best_of(tokens @ np.concatenate(batch).T, offsets)
        starts = offsets_of(list(map(len, batch)))[:-1]
        columns.append(np.add.reduceat(best, starts, axis=1))
    return np.concatenate(columns, axis=1)
