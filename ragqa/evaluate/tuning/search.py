"""Many configs over the same questions: each through its own pipeline, nothing found or encoded twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ragqa.config import ChunkSettings, Config, StageSettings
from ragqa.corpus.database import Corpus
from ragqa.encoders.embedder import Embedder
from ragqa.encoders.tokens import Remembered, TokenEncoder, Vectors
from ragqa.evaluate.metrics import ranked_documents
from ragqa.evaluate.questions import JudgedQuestion
from ragqa.evaluate.runs import DEPTH
from ragqa.pipeline import Pipeline
from ragqa.rerank.colbert import ColbertReranker
from ragqa.retrieve.dense import DenseRetriever
from ragqa.retrieve.fts import FullTextRetriever
from ragqa.retrieve.hybrid import HybridRetriever
from ragqa.search.contracts import Retriever
from ragqa.types import Hit, Passage

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class RememberingRetriever:
    """A first stage whose best few are the first of its best many: each question is searched once.

    What is kept of a hit is its key and score; `passages` holds each passage once for all of them.
    """

    Settings: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, retriever: Retriever, stage: str, depth: int, passages: dict[int, Passage]) -> None:
        self.retriever = retriever
        self.stage = stage
        self.depth = depth
        self.passages = passages
        self._kept: dict[str, tuple[int, NDArray[np.int64], NDArray[np.float64]]] = {}

    def search(self, query: str, k: int) -> list[Hit]:
        depth, rowids, scores = self._kept.get(query) or (0, None, None)
        if rowids is None or scores is None or depth < k:
            depth = max(k, self.depth)
            hits = self.retriever.search(query, depth)
            for hit in hits:
                self.passages.setdefault(hit.passage.rowid, hit.passage)
            rowids = np.array([hit.passage.rowid for hit in hits], np.int64)
            scores = np.array([hit.score for hit in hits], np.float64)
            self._kept[query] = depth, rowids, scores
        found = zip(rowids[:k].tolist(), scores[:k].tolist(), strict=True)
        return [
            Hit(self.passages[rowid], rank, score, {self.stage: score})
            for rank, (rowid, score) in enumerate(found, 1)
        ]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]


class RememberingEncoder:
    """A TokenEncoder that encodes each question once."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.encoder = encoder
        self.identity: Mapping[str, Any] = encoder.identity
        self.dimensions = encoder.dimensions
        self.encode_documents = encoder.encode_documents
        self.document_spans = encoder.document_spans
        self.query_spans = encoder.query_spans
        self.encode_queries = Remembered(encoder.encode_queries, kept=None)


class RememberingEmbedder:
    """An Embedder that embeds each question once."""

    def __init__(self, embedder: Embedder) -> None:
        self.identity: Mapping[str, Any] = embedder.identity
        self.dimensions = embedder.dimensions
        self.embed_documents = embedder.embed_documents
        self._remembered = Remembered(embedder.embed_queries, kept=None)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack(self._remembered(texts))


class Finder:
    """Searches `corpora`, the same documents by how they are cut, with any config.

    `depth` is how many passages the first stages are asked for at least.
    """

    def __init__(self, corpora: Mapping[ChunkSettings, Corpus], depth: int) -> None:
        self.corpora = corpora
        self.depth = depth
        self._leaves: dict[str, RememberingRetriever] = {}
        self._passages: dict[ChunkSettings, dict[int, Passage]] = {chunk: {} for chunk in corpora}
        # By the object: models are loaded once per process, and what wraps one keeps it.
        self._encoders: dict[int, RememberingEncoder] = {}
        self._embedders: dict[int, RememberingEmbedder] = {}

    def documents(self, config: Config, questions: Sequence[JudgedQuestion]) -> list[list[str]]:
        """Return the documents that `config` finds for each question, best passage first.

        As many passages are asked for as by a run.
        """
        pipeline = self._pipeline(config)
        passages = min(DEPTH, config.candidates)
        return [ranked_documents(pipeline.search(question.text, passages).hits) for question in questions]

    def _pipeline(self, config: Config) -> Pipeline:
        """Return the pipeline of `config` with stages that remember."""
        pipeline = Pipeline(config, self.corpora[config.chunk])
        pipeline.retriever = self._remembering(pipeline.retriever, config.retrieve, config)
        reranker = pipeline.reranker
        if isinstance(reranker, ColbertReranker):
            encoder = reranker.store.encoder
            reranker.store.encoder = _kept(self._encoders, id(encoder), lambda _: RememberingEncoder(encoder))
        return pipeline

    def _remembering(self, retriever: Retriever, stage: StageSettings, config: Config) -> Retriever:
        if isinstance(retriever, HybridRetriever):
            parts = zip(retriever.stages, retriever.settings.stages, strict=True)
            retriever.stages = [self._remembering(part, settings, config) for part, settings in parts]
            return retriever
        if not isinstance(retriever, FullTextRetriever | DenseRetriever):
            return retriever
        settings = retriever.settings.model_dump()
        cutting = config.chunk.model_dump()
        key = json.dumps(
            [stage.type, settings, cutting, config.device, config.dtype, config.where], sort_keys=True
        )
        if key not in self._leaves and isinstance(retriever, DenseRetriever):
            embedder = retriever.store.embedder
            retriever.store.embedder = _kept(
                self._embedders, id(embedder), lambda _: RememberingEmbedder(embedder)
            )
        passages = self._passages[config.chunk]
        return _kept(
            self._leaves,
            key,
            lambda _: RememberingRetriever(retriever, stage.type, self.depth, passages),
        )


def _kept(store: dict[_Key, _Value], key: _Key, make: Callable[[_Key], _Value]) -> _Value:
    if key not in store:
        store[key] = make(key)
    return store[key]
