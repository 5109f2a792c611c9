"""MaxSim, the late interaction score of ColBERT (Khattab and Zaharia 2020, arXiv:2004.12832, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Offsets = NDArray[np.int64]


def offsets_of(counts: Sequence[int]) -> Offsets:
    """Return where each of several documents with so many tokens begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def maxsim(query: Matrix, documents: Matrix, offsets: Offsets) -> Matrix:
    """Return the MaxSim score of each document, shape (documents,).

    `query` has shape (query tokens, dimensions); `documents` holds the token vectors of all
    documents one after the other, those of document i in rows offsets[i] to offsets[i + 1]. The
    score is the sum over query tokens of the highest dot product with any token of the document; a
    document without tokens scores 0.
    """
    scores: Matrix = best_matches(query, documents, offsets).sum(axis=1)
    return scores


def best_matches(query: Matrix, documents: Matrix, offsets: Offsets) -> Matrix:
    """Return, for each document and query token, the highest dot product: shape (documents, query tokens)."""
    if not len(query) or not len(documents):
        return np.zeros((len(offsets) - 1, len(query)), dtype=np.float32)
    return best_of(documents @ query.T, offsets)


def best_of(similarities: Matrix, offsets: Offsets) -> Matrix:
    """Return the highest value per document and column of `similarities`, shape (document tokens, columns).

    A document without tokens gets zeros.
    """
    best = np.zeros((len(offsets) - 1, similarities.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        best[filled] = np.maximum.reduceat(similarities, offsets[:-1][filled], axis=0)
    return best


def best_across(similarities: Matrix, offsets: Offsets) -> Matrix:
    """Return what `best_of` does the other way round: (columns, document tokens) to (columns, documents).

    The numbers of a document lie side by side here, which the processor compares sixteen at a time.
    """
    best = np.zeros((len(similarities), len(offsets) - 1), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        best[:, filled] = np.maximum.reduceat(similarities, offsets[:-1][filled], axis=1)
    return best
