"""Corpora grown for measuring, and readers that ask side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragqa.corpus.database import Corpus
from ragqa.index.quantise import decode
from ragqa.pipeline import Pipeline
from tests.workshop.scale.grown import Grower
from tests.workshop.scale.readers import read_side_by_side
from tests.workshop.scale.searching import _stores

SIZE = 11


@pytest.fixture
def grown(db: Path, tmp_path: Path) -> Path:
    path = tmp_path / "grown.db"
    with Pipeline.from_config("default", db) as pipeline:
        dense, tokens = _stores(pipeline)
        kept = tokens.encoder_row(), tokens.encoder.dimensions, tokens.storage.codec
        Grower(pipeline.corpus, dense, kept).grow(path, SIZE, with_tokens=True)
    return path


def test_a_grown_corpus_is_searched_like_any_other(db: Path, grown: Path) -> None:
    with Pipeline.from_config("default", grown) as there, Pipeline.from_config("default", db) as here:
        assert there.corpus.count("passages") == SIZE > here.corpus.count("passages")
        assert all(stage.missing() == 0 for name, stage in there.derived().items() if name != "fts")
        (best,) = there.search("How warm is green tea steeped?", 1).hits
        assert "70 degrees" in best.passage.text
        dense, tokens = _stores(there)
        vectors = dense.matrix().vectors(range(SIZE))
        # Made vectors lie near real ones and on none.
        real = here.corpus.count("passages")
        nearest = (vectors[real:] @ vectors[:real].T).max(axis=1)
        assert (nearest > 0.7).all()
        assert (nearest < 0.98).all()
        rows = tokens.read_stored(dense.matrix().rowids)
        count, data, _ = rows[dense.matrix().rowids[-1]]
        lengths = np.linalg.norm(
            decode([data], [count], tokens.encoder.dimensions, tokens.storage.codec), axis=1
        )
        np.testing.assert_allclose(lengths, 1, atol=0.01)


def test_a_smaller_corpus_is_a_sample_of_the_real_one(db: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.db"
    with Pipeline.from_config("default", db) as pipeline:
        dense, _ = _stores(pipeline)
        Grower(pipeline.corpus, dense, None).grow(path, 2, with_tokens=False)
    with Corpus.open(path) as corpus, Corpus.open(db) as whole:
        assert corpus.count("passages") == corpus.count("dense_vectors") == 2
        assert corpus.count("token_vectors") == 0
        texts = {row[0] for row in whole.connection.execute("SELECT text FROM passages")}
        assert {row[0] for row in corpus.connection.execute("SELECT text FROM passages")} < texts


def test_readers_ask_at_the_same_time_and_say_what_it_took(db: Path) -> None:
    config = {"retrieve": {"type": "fts"}}
    reading = read_side_by_side(config, str(db), ["green tea", "a flat tyre"], 2)
    assert len(reading.times_ms) == 4
    assert all(0 < each < 1000 * reading.seconds for each in reading.times_ms)
    assert reading.per_second == pytest.approx(4 / reading.seconds)
    assert 20 * 2**20 < reading.peak_bytes < 2**30
