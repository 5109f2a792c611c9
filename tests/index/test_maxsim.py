from __future__ import annotations

import numpy as np

from ragqa.index.maxsim import best_matches, maxsim


def test_maxsim_is_the_sum_of_each_query_tokens_best_match() -> None:
    generator = np.random.default_rng(0)
    query = generator.normal(size=(5, 8)).astype(np.float32)
    documents = [generator.normal(size=(size, 8)).astype(np.float32) for size in (3, 1, 0, 7)]
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64)
    expected = [
        sum(max(float(q @ d) for d in document) for q in query) if len(document) else 0.0
        for document in documents
    ]
    scores = maxsim(query, np.concatenate(documents), offsets)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_nothing_to_compare_gives_zeros() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert best_matches(empty, np.ones((2, 4), np.float32), np.array([0, 2])).shape == (1, 0)
    assert maxsim(np.ones((2, 4), np.float32), empty, np.array([0, 0])).tolist() == [0.0]
