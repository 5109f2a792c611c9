"""From scores of passages to hits: the last step of every first stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragqa.corpus.database import Corpus
from ragqa.types import Hit

if TYPE_CHECKING:
    # Imported where it is used: a full-text search needs none of it.
    from numpy.typing import NDArray


def best(scores: NDArray[Any], k: int) -> list[int]:
    """Return the places of the `k` highest scores, highest first, the lower place first among equals."""
    import numpy as np

    if k < len(scores):
        # All that reach the k-th score, so that among equals the lower place is in.
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= threshold)
    else:
        places = np.arange(len(scores))
    order = np.lexsort((places, -scores[places]))[:k]
    chosen: list[int] = places[order].tolist()
    return chosen


def hits(corpus: Corpus, rowids: Sequence[int], scores: Sequence[float], stage: str) -> list[Hit]:
    """Return the passages with these keys as hits, ranks from 1; passages that are gone are left out."""
    score_of = dict(zip(rowids, scores, strict=True))
    return [
        Hit(passage, rank, score_of[passage.rowid], {stage: score_of[passage.rowid]})
        for rank, passage in enumerate(corpus.passages(rowids), 1)
    ]
