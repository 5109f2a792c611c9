from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings, Vectors
from ragqa.index.pooling import cluster, pool
from ragqa.index.token_store import StorageSettings, TokenStore
from tests.index.test_store import all_passages


def sphere(tokens: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(tokens, 16)).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.mark.needs("torch")
@pytest.mark.parametrize("factor", [2, 2.5, 3])
@pytest.mark.parametrize("tokens", [2, 3, 40])
def test_pooling_is_that_of_sentence_transformers(factor: float, tokens: int) -> None:
    import torch
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    vectors = sphere(tokens)
    theirs = HierarchicalTokenPooling(pool_factor=factor, num_protected_tokens=0)
    expected = theirs.pool_one(torch.from_numpy(vectors)).numpy()
    pooled = pool(vectors, cluster(vectors, factor))
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_equal_vectors_are_one_and_no_vectors_are_none() -> None:
    same = np.repeat(sphere(1), 6, axis=0)
    clusters = cluster(same, 3)
    pooled = pool(same, clusters)
    assert set(clusters.tolist()) == set(range(len(pooled)))
    np.testing.assert_allclose(pooled[clusters], same, atol=1e-6)
    nothing = same[:0]
    assert pool(nothing, cluster(nothing, 3)).shape == (0, 16)


def test_stored_tokens_come_back_as_the_vector_that_stands_for_them(corpus: Corpus) -> None:
    encoder = load_encoder(EncoderSettings(), Compute("cpu"))
    passages = all_passages(corpus)
    every = TokenStore(corpus, encoder, StorageSettings(codec="int8", pool_factor=1)).load_tokens(passages)
    store = TokenStore(corpus, encoder, StorageSettings(codec="int8", pool_factor=2))
    tokens, pooled = store.load_tokens(passages), store.load(passages)
    assert tokens.offsets.tolist() == every.offsets.tolist()
    assert len(pooled.vectors) <= len(every.vectors) / 2
    cosines = (tokens.vectors * every.vectors).sum(axis=1)
    assert cosines.min() > 0.4
    assert cosines.mean() > 0.85
    assert store.load_tokens([]).offsets.tolist() == [0]


def test_a_corpus_of_an_earlier_version_is_upgraded_and_its_vectors_refused(db: Path) -> None:
    import sqlite3

    from sqlite_utils import Database

    from ragqa.corpus.schema import migrations

    old = db.with_name("old.db")
    connection = sqlite3.connect(old)
    migrations.apply(Database(connection), stop_before="m003_pooled_tokens")
    connection.execute(f"PRAGMA application_id = {0x72677161}")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with Corpus.open(old) as corpus:
        assert corpus.connection.execute("SELECT members FROM token_vectors").fetchall() == []
