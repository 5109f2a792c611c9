"""The indexes of a Lance dataset: made once there are enough rows, brought up to date after."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ragqa.index.lance import layout
from ragqa.index.lance.layout import Manifest
from ragqa.retrieve.lance import IndexSettings, LanceSettings

if TYPE_CHECKING:
    from lancedb.table import Table

# Below so many rows a scan finds a digest as fast.
DIGEST_FROM = 10_000
# How long the index may take that Lance makes in the background.
PATIENCE = timedelta(hours=12)


def update(table: Table, manifest: Manifest, settings: LanceSettings) -> None:
    """Make the indexes that are lacking, and add new rows to the others."""
    from lancedb.index import FTS, BTree

    rows = table.count_rows()
    indexed = {column for index in table.list_indices() for column in index.columns}
    # As in the stage fts, stop words are a matter of the question: one made of nothing else asks for them.
    wanted: dict[str, Any] = {layout.FULL_TEXT: FTS(remove_stop_words=False, stem=True) if rows else None}
    if rows >= DIGEST_FROM:
        wanted["digest"] = BTree()
    if manifest.dense is not None:
        wanted[layout.DENSE] = _vector_index(settings.dense_index, "dot", rows, manifest.dense.dimensions)
    if manifest.multivector and manifest.tokens is not None:
        dimensions = manifest.tokens.dimensions
        wanted[layout.TOKENS] = _vector_index(settings.multivector_index, "cosine", rows, dimensions)
    for column, config in wanted.items():
        if config is not None and column not in indexed:
            table.create_index(column, config=config, wait_timeout=PATIENCE)
    table.optimize()


def _vector_index(settings: IndexSettings, metric: str, rows: int, dimensions: int) -> Any:
    """Return LanceDB's description of an index, or None where there is to be none."""
    from lancedb.index import HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq

    if settings.type == "none" or rows < settings.from_rows:
        return None
    kinds = {"ivf-pq": IvfPq, "ivf-sq": IvfSq, "ivf-rq": IvfRq, "ivf-flat": IvfFlat, "ivf-hnsw-sq": HnswSq}
    options: dict[str, Any] = {"num_partitions": settings.partitions or max(1, round(math.sqrt(rows)))}
    if settings.type == "ivf-pq":
        # Eight dimensions share a byte; LanceDB's own choice is sixteen.
        options["num_sub_vectors"] = dimensions // 8
    return kinds[settings.type](distance_type=metric, **options)
