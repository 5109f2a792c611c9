"""Pushing to LanceDB at growing sizes, and searching there: what is found, how fast, by how many."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ragqa.index.dense_store import DenseStore
from ragqa.index.lance import dataset
from ragqa.index.lance.dataset import connect
from ragqa.index.lance.layout import TABLE
from ragqa.operations.corpus import build_index
from ragqa.operations.push import push
from ragqa.pipeline import Pipeline
from ragqa.rerank.colbert import ColbertReranker
from ragqa.retrieve.dense import DenseRetriever
from tests.workshop.bench.measure import percentile
from tests.workshop.scale.grown import Grower, copy_collection
from tests.workshop.scale.material import (
    MODEL,
    TOKENS_UP_TO,
    Material,
    config,
    lance_config,
    pushed_config,
    sqlite_config,
)
from tests.workshop.scale.readers import Reading, read_side_by_side

K = 10
READERS = (1, 4, 8)
# Readers ask every so many of the questions: eight at once ask them all eight times.
EVERY = 2
FEWER = 6
MIB = 2**20

Row = tuple[str, str]


def pushed(material: Material) -> Iterator[Row]:
    """Grow the corpus and push it: dense vectors and full text at every size, token vectors up to 100,000."""
    for size in material.sizes:
        tokens = size <= TOKENS_UP_TO
        _grow(material, size, with_tokens=tokens)
        yield f"corpus file of {size:,} passages", f"{_bytes(material.grown(size)) / MIB:,.0f} MiB"
        # Without token vectors first, so that one rate is measured at all sizes.
        uri = str(material.folder / "dense.lance") if tokens else material.dataset(size)
        yield _push(material, size, uri, lance_config(uri, "hybrid"), "dense vectors and full text")
        if tokens:
            shutil.rmtree(uri)
            uri = material.dataset(size)
            yield _push(material, size, uri, pushed_config(uri), "with token vectors, searchable too")


def _grow(material: Material, size: int, *, with_tokens: bool) -> None:
    """Make the corpus of a size, where it is not there yet."""
    if material.grown(size).exists():
        return
    with Pipeline.from_config(config(sqlite_config()), material.real) as pipeline:
        stores = _stores(pipeline)
        tokens = stores[1].encoder_row(), stores[1].encoder.dimensions, stores[1].storage.codec
        Grower(pipeline.corpus, stores[0], tokens).grow(material.grown(size), size, with_tokens=with_tokens)


def _stores(pipeline: Pipeline) -> tuple[DenseStore, Any]:
    dense = next(stage for stage in pipeline.derived().values() if isinstance(stage, DenseRetriever))
    reranker = pipeline.reranker
    assert isinstance(reranker, ColbertReranker)
    return dense.store, reranker.store


def _push(material: Material, size: int, uri: str, values: dict[str, Any], what: str) -> Row:
    with Pipeline.from_config(config(values), material.grown(size)) as pipeline:
        report = push(pipeline, uri)
    # Versions before are kept for an hour, and are not what a passage costs.
    connect(uri).open_table(TABLE).optimize(cleanup_older_than=timedelta(0))
    return (
        f"push of {size:,}, {what}",
        f"{report.seconds:,.0f} s, {report.added / report.seconds:,.0f} passages/s, of which indexes "
        f"{report.index_seconds:,.0f} s; {_bytes(Path(uri)) / size:,.0f} bytes a passage on disk",
    )


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def kinds(material: Material) -> Iterator[Row]:
    """Try each kind of index on the dense vectors of 100,000 passages: what the defaults were chosen by."""
    size = TOKENS_UP_TO
    _grow(material, size, with_tokens=True)
    uri = str(material.folder / "kinds.lance")
    with Pipeline.from_config(config(sqlite_config(rerank=False)), material.grown(size)) as pipeline:
        exact = _exact_dense(pipeline, material.questions)
    for kind in ("none", "ivf-flat", "ivf-sq", "ivf-pq", "ivf-rq", "ivf-hnsw-sq"):
        values = lance_config(uri, "dense", dense_index={"type": kind})
        with Pipeline.from_config(config(values), material.grown(size)) as pipeline:
            report = push(pipeline, uri)
        for refine in (1, 10):
            found, times = _found(lance_config(uri, "dense", dense={"refine": refine}), material.questions)
            yield _recall_row(
                f"dense, {size:,}, {kind} ({report.index_seconds:,.0f} s for indexes), refine {refine}",
                exact,
                found,
                times,
            )
        shutil.rmtree(uri)
        dataset.forget()


# -- what is found ----------------------------------------------------------------------------------


def recall(material: Material) -> Iterator[Row]:
    """Compare what the indexes find with what comparing everything finds."""
    for size in material.sizes:
        with Pipeline.from_config(config(sqlite_config(rerank=False)), material.grown(size)) as pipeline:
            exact = _exact_dense(pipeline, material.questions)
        found, times = _found(lance_config(material.dataset(size), "dense"), material.questions)
        yield _recall_row(f"dense, {size:,}", exact, found, times)
        if size == TOKENS_UP_TO:
            exact = _all_at_once(
                {"chunk": _chunk(), "retrieve": _EXACT}, material.questions, material.grown(size)
            )
            found, times = _found(lance_config(material.dataset(size), "multivector"), material.questions)
            yield _recall_row(f"multivector, {size:,}", exact, found, times)


def _chunk() -> dict[str, Any]:
    chunk: dict[str, Any] = sqlite_config()["chunk"]
    return chunk


def _exact_dense(pipeline: Pipeline, questions: Sequence[str]) -> list[list[str]]:
    store = next(stage for stage in pipeline.derived().values() if isinstance(stage, DenseRetriever)).store
    matrix = store.matrix()
    products = matrix.products(store.embedder.embed_queries(questions))
    best = np.argsort(-products, axis=0, kind="stable")[:K].T
    return [
        [passage.id for passage in pipeline.corpus.passages([matrix.rowids[place] for place in places])]
        for places in best
    ]


def _all_at_once(values: dict[str, Any], questions: Sequence[str], db: Path) -> list[list[str]]:
    """Return the ids of the ten best of each question, which share the work of reading all vectors."""
    with Pipeline.from_config(config(values), db) as pipeline:
        return [[hit.passage.id for hit in hits] for hits in pipeline.retriever.search_batch(questions, K)]


def _found(
    values: dict[str, Any], questions: Sequence[str], db: Path | None = None
) -> tuple[list[list[str]], list[float]]:
    """Return the ids of the ten best of each question, and the milliseconds that each took."""
    times = []
    found = []
    with Pipeline.from_config(config(values), db) as pipeline:
        for question in questions:
            begun = time.perf_counter()
            hits = pipeline.search(question, K).hits
            times.append(1000 * (time.perf_counter() - begun))
            found.append([hit.passage.id for hit in hits])
    return found, times


def _recall_row(what: str, exact: list[list[str]], found: list[list[str]], times: list[float]) -> Row:
    shares = [len(set(one) & set(other)) / len(one) for one, other in zip(exact, found, strict=True)]
    return (
        f"recall@{K}, {what}",
        f"{np.mean(shares):.3f} of {len(shares)} questions' exact ten, {statistics.median(times):.0f} ms",
    )


def same(material: Material) -> Iterator[Row]:
    """Ask all claims of SciFact in SQLite and in Lance, every vector being compared: the same ten?"""
    db, uri = material.folder / "scifact.db", str(material.folder / "scifact.lance")
    copy_collection(material.real, db, "scifact/")
    with Pipeline.from_config(config(pushed_config(uri)), db) as pipeline:
        push(pipeline, uri, anew=True)
        passages = pipeline.corpus.count("passages")
    here = {
        "dense": {"type": "dense", "model": MODEL["model"]},
        "multivector": _EXACT,
        "fts": {"type": "fts"},
    }
    for mode, stage in here.items():
        # Comparing all token vectors takes Lance seconds.
        claims = material.claims[::FEWER] if mode == "multivector" else material.claims
        ours = _all_at_once({"chunk": _chunk(), "retrieve": stage}, claims, db)
        theirs, _ = _found(lance_config(uri, mode, exact=True), claims)
        equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
        shared = np.mean([len(set(one) & set(other)) / K for one, other in zip(ours, theirs, strict=True)])
        yield (
            f"{mode} in SQLite and in Lance, SciFact, {passages:,} passages",
            f"{equal} of {len(ours)} questions with the same ten in the same order; {shared:.3f} shared",
        )


_EXACT = {"type": "colbert-index", **MODEL}


# -- how fast ---------------------------------------------------------------------------------------


def readers(material: Material) -> Iterator[Row]:
    """Ask the same questions in 1, 4 and 8 processes at once, and SQLite beside them at 100,000."""
    for size in material.sizes[1:]:
        uri = material.dataset(size)
        for mode in ("fts", "dense", "hybrid"):
            yield from _read(f"Lance {mode}, {size:,}", lance_config(uri, mode), None, material.questions)
        if size <= TOKENS_UP_TO:
            values = lance_config(uri, "hybrid", rerank=True)
            yield from _read(f"Lance hybrid, ColBERT second, {size:,}", values, None, material.questions)
            values = lance_config(uri, "multivector")
            yield from _read(f"Lance multivector, {size:,}", values, None, material.questions)
            db = str(material.grown(size))
            with Pipeline.from_config(config(sqlite_config()), db) as pipeline:
                build_index(pipeline)
            yield from _read(f"SQLite as `default`, {size:,}", sqlite_config(), db, material.questions)


def _read(what: str, values: dict[str, Any], db: str | None, questions: Sequence[str]) -> Iterator[Row]:
    for count in READERS:
        reading = read_side_by_side(values, db, questions[::EVERY], count)
        yield _reading(f"{what}, {'one reader' if count == 1 else f'{count} readers'}", reading)


def _reading(what: str, reading: Reading) -> Row:
    return (
        what,
        f"p50 {percentile(reading.times_ms, 0.5):,.0f} ms, p95 {percentile(reading.times_ms, 0.95):,.0f} ms, "
        f"{reading.per_second:,.0f} questions/s, {reading.peak_bytes / MIB:,.0f} MiB a reader at most",
    )
