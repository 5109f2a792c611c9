"""`python -m tests.workshop.storage`: what ways of keeping token vectors cost, in bytes, quality, time.

Every way orders the same candidates, whose vectors are encoded once, in float32; the first way keeps
them as they are, and the others are compared with it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.config import load_config
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.vocabulary import count_tokens
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings, Vectors
from ragqa.evaluate.metrics import document_scores, ranked_documents, retrieval_measure
from ragqa.evaluate.questions import load_questions
from ragqa.evaluate.runs import DEPTH
from ragqa.index.maxsim import best_of, maxsim, offsets_of
from ragqa.index.pooling import cluster, pool
from ragqa.index.quantise import encode, join
from ragqa.index.token_store import StorageSettings
from ragqa.pipeline import Pipeline
from ragqa.rerank.colbert import STAGE, ColbertSettings
from ragqa.rerank.order import reorder
from ragqa.types import Hit, Passage
from tests.workshop.fusions import METRIC

STRATEGIES = ("fts-colbert", "default")
WAYS = (
    StorageSettings(codec="int8", pool_factor=1),
    StorageSettings(codec="int4", pool_factor=1),
    StorageSettings(codec="int2", pool_factor=1),
    StorageSettings(codec="int4", pool_factor=1.5),
    StorageSettings(codec="int2", pool_factor=1.5),
    StorageSettings(codec="int4", pool_factor=2),
    StorageSettings(codec="int2", pool_factor=2),
    StorageSettings(codec="int4", pool_factor=3),
)
PASSAGES_AT_ONCE = 256
TOP = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """A collection's judged questions, encoded, with the candidates of each strategy and their vectors."""

    questions: Mapping[str, Vectors]
    qrels: Mapping[str, Mapping[str, int]]
    candidates: Mapping[str, Mapping[str, Sequence[Hit]]]
    vectors: Mapping[int, NDArray[np.float16]]
    tokens_of_text: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a way of storing is worth with one strategy: a row of the table."""

    strategy: str
    ndcg: float
    overlap: float
    median_ms: float


# From candidates and an encoded question to the score of each candidate.
Scorer = Callable[[Sequence[Hit], Vectors], list[float]]


def read_collection(
    folder: Path, db: Path, advance: Callable[[int, int], None] = lambda done, total: None
) -> Judged:
    """Find the candidates and encode them, in float32, whatever the corpus has stored."""
    judged = [q for q in load_questions(folder).questions if q.judged]
    candidates: dict[str, dict[str, Sequence[Hit]]] = {}
    passages: dict[int, Passage] = {}
    for name in STRATEGIES:
        pipeline = Pipeline.from_config(name, db)
        candidates[name] = {q.id: pipeline.retriever.search(q.text, DEPTH) for q in judged}
        pipeline.close()
        for hits in candidates[name].values():
            passages.update((hit.passage.rowid, hit.passage) for hit in hits)
    encoder = load_encoder(EncoderSettings(), Compute("cpu", "float32"))
    ordered = sorted(passages.values(), key=lambda passage: -len(passage.text))
    vectors: dict[int, NDArray[np.float16]] = {}
    tokens = 0
    for start in range(0, len(ordered), PASSAGES_AT_ONCE):
        part = ordered[start : start + PASSAGES_AT_ONCE]
        texts = [indexed_text(passage)[0] for passage in part]
        for passage, matrix in zip(part, encoder.encode_documents(texts), strict=True):
            vectors[passage.rowid] = matrix.astype(np.float16)
        tokens += sum(map(count_tokens, texts))
        advance(start + len(part), len(ordered))
    return Judged(
        {q.id: encoder.encode_queries([q.text])[0] for q in judged},
        {q.id: {d: int(grade > 0) for d, grade in q.relevant.items()} for q in judged},
        candidates,
        vectors,
        tokens,
    )


def compare(collection: Judged, ways: Sequence[StorageSettings] = WAYS) -> Iterator[dict[str, Any]]:
    """Yield a row per way and strategy, the unpooled float32 vectors first."""
    plain = {rowid: matrix.astype(np.float32) for rowid, matrix in collection.vectors.items()}
    size = sum(matrix.nbytes for matrix in plain.values())
    tops: dict[str, dict[str, set[int]]] = {}
    yield from _rows("float32", size, collection, _plain(plain), tops)
    pooled, factor = plain, 1.0
    for way in sorted(ways, key=lambda way: way.pool_factor):
        if way.pool_factor != factor:
            factor = way.pool_factor
            pooled = {rowid: pool(matrix, cluster(matrix, factor)) for rowid, matrix in plain.items()}
        blobs = {rowid: encode(matrix, way.codec) for rowid, matrix in pooled.items()}
        size = sum(map(len, blobs.values()))
        if factor != 1:
            # A byte per token says which vector stands for it.
            size += sum(map(len, plain.values()))
        counts = {rowid: len(matrix) for rowid, matrix in pooled.items()}
        yield from _rows(
            f"{way.codec}, pooled by {factor:g}", size, collection, _packed(blobs, counts, way), tops
        )


def _rows(
    way: str, size: int, collection: Judged, score: Scorer, tops: dict[str, dict[str, set[int]]]
) -> Iterator[dict[str, Any]]:
    for strategy in STRATEGIES:
        cost = _cost(strategy, collection, score, tops.setdefault(strategy, {}))
        yield {
            "way": way,
            "bytes_per_token": size / max(collection.tokens_of_text, 1),
            "bytes_per_passage": size / max(len(collection.vectors), 1),
            "strategy": strategy,
            METRIC: cost.ndcg,
            "overlap": cost.overlap,
            "ms": cost.median_ms,
        }


def _cost(strategy: str, collection: Judged, score: Scorer, tops: dict[str, set[int]]) -> Cost:
    """Rank with `score`; `tops` holds the first hits of the way to compare with, or is filled here."""
    import ir_measures

    fusion = ColbertSettings(**load_config(strategy).rerank.options).fuse
    ranked, overlaps, times = {}, [], []
    for question, hits in collection.candidates[strategy].items():
        start = time.perf_counter()
        scores = score(hits, collection.questions[question])
        times.append((time.perf_counter() - start) * 1000)
        order = reorder(hits, scores, STAGE, fusion, DEPTH)
        ranked[question] = document_scores(ranked_documents(order))
        top = {hit.passage.rowid for hit in order[:TOP]}
        expected = tops.setdefault(question, top)
        overlaps.append(len(top & expected) / max(len(expected), 1))
    measure = retrieval_measure(METRIC)
    value = float(ir_measures.calc_aggregate([measure], collection.qrels, ranked)[measure])
    return Cost(strategy, value, statistics.fmean(overlaps), statistics.median(times))


def _plain(vectors: Mapping[int, Vectors]) -> Scorer:
    def score(hits: Sequence[Hit], question: Vectors) -> list[float]:
        matrices = [vectors[hit.passage.rowid] for hit in hits]
        joined = np.concatenate([*matrices, np.zeros((0, question.shape[1]), np.float32)])
        scores: list[float] = maxsim(question, joined, offsets_of(list(map(len, matrices)))).tolist()
        return scores

    return score


def _packed(blobs: Mapping[int, bytes], counts: Mapping[int, int], way: StorageSettings) -> Scorer:
    def score(hits: Sequence[Hit], question: Vectors) -> list[float]:
        tokens = [counts[hit.passage.rowid] for hit in hits]
        packed = join([blobs[hit.passage.rowid] for hit in hits], tokens, question.shape[1], way.codec)
        scores: list[float] = best_of(packed.products(question), offsets_of(tokens)).sum(axis=1).tolist()
        return scores

    return score


def table(
    collections: Annotated[list[str], typer.Argument(help="FOLDER=CORPUS: a BEIR folder and its corpus.")],
    json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print what each way of storing takes, how well it ranks, and how much of the top 10 stays."""
    rows = []
    if not json:
        print(
            f"| collection | stored as | bytes/token | bytes/passage | config | {METRIC} | same top 10 | ms |"
        )
        print("| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |", flush=True)
    for collection in collections:
        folder, _, db = collection.partition("=")
        with show.progress(Path(folder).name) as advance:
            judged = read_collection(Path(folder), Path(db), advance)
        for row in compare(judged):
            rows.append({"collection": Path(folder).name, **row})
            if not json:
                print(
                    f"| {Path(folder).name} | {row['way']} | {row['bytes_per_token']:.0f}"
                    f" | {row['bytes_per_passage']:,.0f} | `{row['strategy']}` | {row[METRIC]:.4f}"
                    f" | {row['overlap']:.3f} | {row['ms']:.1f} |",
                    flush=True,
                )
    if json:
        show.print_json(rows)


if __name__ == "__main__":
    run(lambda: typer.run(table))
