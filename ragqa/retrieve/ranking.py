"""From scores of passages to hits: the last step of every first stage."""

from __future__ import annotations

from collections.abc import Sequence

from ragqa.corpus.database import Corpus
from ragqa.types import Hit


def hits(corpus: Corpus, rowids: Sequence[int], scores: Sequence[float], stage: str) -> list[Hit]:
    """Return the passages with these keys as hits, ranks from 1; passages that are gone are left out."""
    score_of = dict(zip(rowids, scores, strict=True))
    return [
        Hit(passage, rank, score_of[passage.rowid], {stage: score_of[passage.rowid]})
        for rank, passage in enumerate(corpus.passages(rowids), 1)
    ]
