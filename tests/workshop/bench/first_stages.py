"""Full text and dense retrieval against the plain libraries beneath them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ragqa.index.best import best
from ragqa.index.dense_matrix import DenseMatrix
from ragqa.retrieve.fts import FullTextRetriever
from tests.workshop.bench.late_interaction import opened
from tests.workshop.bench.material import Material
from tests.workshop.bench.measure import Row, paired

K = 10
# A corpus that is too large to encode in a benchmark: random unit vectors, of which only times are asked.
DENSE_ROWS, DIMENSIONS = 100_000, 384


def full_text(material: Material) -> Iterator[Row]:
    """SciFact's 300 questions, each asked of both sides in turn."""
    questions = material.scifact_questions
    with opened("fts", material.scifact) as pipeline:
        stage = pipeline.retriever
        assert isinstance(stage, FullTextRetriever)
        connection = pipeline.corpus.connection
        expressions = [stage.match_expression(question) for question in questions]
        plain = (
            f"SELECT p.rowid, p.title, p.text, -bm25({stage.table}, 2, 1, 1) AS score FROM {stage.table} f"
            f" JOIN passages p ON p.rowid = f.rowid WHERE {stage.table} MATCH ? ORDER BY score DESC LIMIT ?"
        )
        times = paired(
            lambda number: stage.search(questions[number], K),
            lambda number: connection.execute(plain, [expressions[number], K]).fetchall(),
            len(questions),
        )
        passages = pipeline.corpus.count("passages")
        yield times.row(
            f"full-text question, 5,183 documents ({passages:,} passages), {K} hits",
            "the same query in plain sqlite3",
            "within 1.3 times",
            times.ratio >= 1 / 1.3,
        )
        rows = connection.execute("SELECT title || ' ' || text FROM passages ORDER BY rowid").fetchall()
        yield _bm25s(stage, questions, [row[0] for row in rows])


def _bm25s(stage: FullTextRetriever, questions: list[str], texts: list[str]) -> Row:
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def theirs(number: int) -> None:
        tokens = bm25s.tokenize(questions[number], stopwords="en", show_progress=False)
        index.retrieve(tokens, corpus=texts, k=K, show_progress=False)

    times = paired(lambda number: stage.search(questions[number], K), theirs, len(questions))
    return times.row("the same questions", "bm25s, its index in memory")


def dense(material: Material) -> Iterator[Row]:
    """The nearest of many vectors: int8 rows as they are stored, against a float32 matrix."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((DENSE_ROWS, DIMENSIONS), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = generator.standard_normal((31, DIMENSIONS), dtype=np.float32)
    scales = np.abs(vectors).max(axis=1) / 127
    rows = np.rint(vectors / scales[:, None]).astype(np.int8)
    stored = DenseMatrix(list(range(DENSE_ROWS)), rows, scales)
    # The first question is answered by numpy, the second packs the rows.
    stored.search(queries[:1], 100)
    stored.search(queries[:1], 100)
    times = paired(
        lambda number: stored.search(queries[number : number + 1], 100),
        lambda number: best(vectors @ queries[number], 100),
        len(queries),
    )
    # Twice, because onnxruntime packs a copy.
    size, their_size = 2 * rows.nbytes + scales.nbytes, vectors.nbytes
    yield times.row(
        f"dense search, {DENSE_ROWS:,} passages, 100 hits",
        "numpy: float32 product, partition",
        "no slower",
        times.ratio >= 1,
    )
    yield Row(
        work="its vectors in memory",
        ours=size,
        unit="bytes",
        peer="float32",
        theirs=their_size,
        ratio=their_size / size,
        reach="half",
        reached=size <= their_size * 0.51,
        note="int8 rows and the copy that onnxruntime packs; a quarter on disk",
    )
