"""A corpus that `ragqa push` wrote to a Lance dataset, searched there: the first stage `lancedb`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, Field

from ragqa.config import Strict
from ragqa.errors import RagqaError
from ragqa.index.best import best
from ragqa.index.dense_store import DENSE_CODEC, Codec, DenseStore
from ragqa.index.lance import layout
from ragqa.index.passage_store import PassageStore, Row
from ragqa.index.token_store import TokenSettings, TokenStore
from ragqa.language.match import match_terms
from ragqa.language.stopwords import STOP_LISTS
from ragqa.search.contracts import Resources
from ragqa.search.fusion import Fusion, fuse
from ragqa.search.stores import dense_store, token_store
from ragqa.types import Hit, Passage

if TYPE_CHECKING:
    from ragqa.index.lance.dataset import Dataset, VectorSearch

STAGE = "lancedb"
Mode = Literal["fts", "dense", "multivector", "hybrid"]


class IndexSettings(Strict):
    """The index that a push makes over vectors once there are `from_rows` of them; below, all are compared.

    `partitions` (0: as many as the square root of the rows) are what a search looks into some of.
    """

    type: Literal["ivf-pq", "ivf-sq", "ivf-rq", "ivf-hnsw-sq", "ivf-flat", "none"]
    from_rows: int = Field(default=20_000, ge=256)
    partitions: int = Field(default=0, ge=0)


class SearchSettings(Strict):
    """How much of an index is looked into.

    `probes` partitions, `ef` neighbours in a graph; `refine` times k rows are scored again by their packed
    vectors, 200 of them at most unless k is larger.
    """

    probes: int | None = Field(default=None, ge=1)
    refine: int = Field(default=10, ge=1)
    ef: int | None = Field(default=None, ge=1)


class LanceSettings(TokenSettings):
    """What is searched (`mode`), where (`uri`: a folder, s3://..., empty: the user's own), and how closely.

    `model` makes the question's vector or token vectors; with `codec`, `pool_factor` and `dense_codec` it
    must be what the corpus was pushed with. `exact` compares all vectors. `hybrid` is fts and dense.
    """

    uri: str = ""
    mode: Mode = "hybrid"
    query_prompt: str | None = None
    document_prompt: str | None = None
    dense_codec: Codec = DENSE_CODEC
    exact: bool = False
    # LanceDB's own 20 partitions found .90 of the exact ten among a million, 60 found .975.
    dense: SearchSettings = SearchSettings(probes=60)
    multivector: SearchSettings = SearchSettings()
    dense_index: IndexSettings = IndexSettings(type="ivf-rq")
    multivector_index: IndexSettings = IndexSettings(type="ivf-rq")
    stop_words: Literal["english", "none"] = "english"
    fuse: Fusion = Fusion()


class LanceRetriever:
    """The first stage `lancedb`. Scores are BM25, cosines, MaxSim, or the fused ones.

    It needs no corpus. Over one, it says which vectors `ragqa index` is to make for `ragqa push`.
    """

    Settings: ClassVar[type[BaseModel]] = LanceSettings
    foreign = True
    filters: ClassVar[bool] = True

    def __init__(self, settings: LanceSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        self._noted = False

    @classmethod
    def score_names(cls, settings: LanceSettings) -> set[str]:
        # Of a hybrid search: its two parts' and the fused one.
        return {"fts", "dense", STAGE} if settings.mode == "hybrid" else {settings.mode}

    # -- what is stored ---------------------------------------------------------------------------

    @cached_property
    def dense_store(self) -> DenseStore:
        """The embeddings in the corpus that is pushed; their model encodes questions."""
        return dense_store(self.settings, self.settings.dense_codec, self.resources)

    @cached_property
    def token_store(self) -> TokenStore:
        """The token vectors in the corpus that is pushed; their model encodes questions."""
        return token_store(self.settings, self.resources)

    @property
    def stores(self) -> Sequence[PassageStore]:
        if self.settings.mode == "multivector":
            return [self.token_store]
        return [] if self.settings.mode == "fts" else [self.dense_store]

    def prepare(self) -> None:
        self._dataset()

    def missing(self) -> int:
        return max((store.missing() for store in self.stores), default=0)

    def build(self, on_passages: Callable[[int, int], None] = lambda done, total: None) -> int:
        return sum(store.build(on_passages) for store in self.stores)

    def rows(self, table: str, fingerprint: str, passages: Sequence[Passage]) -> dict[int, Row]:
        """Return what the dataset has stored of passages for a store of the same table and fingerprint."""
        from ragqa.index.lance.dataset import open_dataset

        dataset = open_dataset(self.settings.uri)
        for kind, columns, own in (
            (dataset.manifest.tokens, layout.TOKEN_CODES, TokenStore.table),
            (dataset.manifest.dense, layout.DENSE_CODES, DenseStore.table),
        ):
            if kind is not None and (own, kind.fingerprint) == (table, fingerprint):
                return dataset.read(passages, columns)
        return {}

    # -- questions --------------------------------------------------------------------------------

    def search(self, query: str, k: int) -> list[Hit]:
        dataset = self._dataset()
        condition = self._condition(dataset)
        if self.settings.mode == "hybrid":
            rankings = [self._full_text(dataset, query, k, condition)]
            rankings.append(self._dense(dataset, query, k, condition))
            return fuse(rankings, self.settings.fuse, k, STAGE)
        search = {"fts": self._full_text, "dense": self._dense, "multivector": self._multivector}
        return search[self.settings.mode](dataset, query, k, condition)

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]

    def _dataset(self) -> Dataset:
        """Return the dataset, which was pushed with the vectors that are searched; else raises RagqaError."""
        from ragqa.index.lance.dataset import open_dataset

        dataset = open_dataset(self.settings.uri)
        dataset.refresh()
        manifest = dataset.manifest
        pushed = {kind.fingerprint for kind in (manifest.dense, manifest.tokens) if kind is not None}
        lacking = any(store.fingerprint not in pushed for store in self.stores)
        if lacking or (self.settings.mode == "multivector" and not manifest.multivector):
            raise RagqaError(
                f"The Lance dataset {dataset.uri} was not pushed with the vectors that this config searches: "
                f"ragqa push -c CONFIG --to {dataset.uri} --anew"
            )
        return dataset

    def _condition(self, dataset: Dataset) -> str | None:
        where = self.resources.where
        if where is None:
            return None
        from ragqa.index.lance.condition import lance_condition, unknown_keys

        for sentence in () if self._noted else unknown_keys(where, dataset.columns):
            self.resources.note(sentence)
        self._noted = True
        return lance_condition(where, dataset.columns)

    def _full_text(self, dataset: Dataset, query: str, k: int, condition: str | None) -> list[Hit]:
        terms = match_terms(query, STOP_LISTS[self.settings.stop_words])
        # Lance counts a word as often as it is asked; a compound's parts are there already.
        words = " ".join(dict.fromkeys(word for term in terms for word in term.split()))
        return _hits(dataset.full_text(words, k, condition), "fts") if words else []

    def _dense(self, dataset: Dataset, query: str, k: int, condition: str | None) -> list[Hit]:
        (vector,) = self.dense_store.embedder.embed_queries([query])
        search = self._closeness(self.settings.dense)
        found = dataset.nearest(layout.DENSE, vector, k, layout.DENSE_CODES, search, condition)
        matrix = self.dense_store.matrix_of({passage.rowid: row for passage, row in found})
        ((places, cosines),) = matrix.search(vector[None], k)
        return _hits(
            [(found[place][0], cosine) for place, cosine in zip(places, cosines, strict=True)], "dense"
        )

    def _multivector(self, dataset: Dataset, query: str, k: int, condition: str | None) -> list[Hit]:
        (question,) = self.token_store.encoder.encode_queries([query])
        search = self._closeness(self.settings.multivector)
        found = dataset.nearest(layout.TOKENS, question, k, layout.TOKEN_CODES, search, condition)
        scores = self.token_store.maxsim([row for _, row in found], question)
        return _hits([(found[place][0], float(scores[place])) for place in best(scores, k)], "multivector")

    def _closeness(self, settings: SearchSettings) -> VectorSearch:
        from ragqa.index.lance.dataset import VectorSearch

        return VectorSearch(self.settings.exact, settings.probes, settings.refine, settings.ef)


def _hits(scored: Sequence[tuple[Passage, float]], stage: str) -> list[Hit]:
    return [Hit(passage, rank, score, {stage: score}) for rank, (passage, score) in enumerate(scored, 1)]
