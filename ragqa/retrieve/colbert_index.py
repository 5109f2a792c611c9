"""Full ColBERT search: late interaction with every passage, instead of with a first stage's candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from ragqa.config import pick
from ragqa.encoders.embedded.catalogue import TEXT_MODELS, TOKEN_MODELS
from ragqa.encoders.embedder import EmbedderSettings, load_embedder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.index.best import best
from ragqa.index.dense_store import DENSE_CODEC, DenseStore
from ragqa.index.exact import ExactSearch
from ragqa.index.passage_store import PassageStore
from ragqa.index.token_store import TokenSettings, TokenStore
from ragqa.retrieve.ranking import hits
from ragqa.search.contracts import Resources
from ragqa.search.stores import token_store
from ragqa.types import Hit

if TYPE_CHECKING:
    from ragqa.index.plaid.plaid_index import PlaidIndex
    from ragqa.types import Matches

# Questions whose tokens are compared with the whole corpus in one sweep.
SWEEP = 64
# Fewer passages are compared in some milliseconds: k-means has too little to make clusters of (of one to
# three short passages none), and what is found by clusters is less than there is.
EXACT_BELOW = 1000


class ColbertIndexSettings(TokenSettings):
    """The keys of the encoder and of how vectors are kept, and the `kind` of search over them.

    `exact` compares every token vector, and sees every change at once. `shortlist` compares those of
    as many passages as it says, the ones whose embeddings are nearest to the question's; it is for the
    embedded models, which give both. `plaid` searches RAGatouille's compressed index, which
    `ragqa index` builds; in a corpus of fewer passages than `exact_below` it compares all, as `exact` does.
    """

    kind: Literal["exact", "shortlist", "plaid"] = "exact"
    shortlist: int = Field(default=1000, ge=10)
    exact_below: int = Field(default=EXACT_BELOW, ge=0)

    @model_validator(mode="after")
    def _embeddings_for_a_shortlist(self) -> ColbertIndexSettings:
        if self.kind == "shortlist" and not (self.model in TEXT_MODELS and self.model in TOKEN_MODELS):
            raise ValueError(
                "kind shortlist is for the embedded model: take exact, plaid, or retrieve type dense with "
                "many candidates"
            )
        return self


class ColbertIndexRetriever:
    """The first stage `colbert-index`. Scores are MaxSim, approximate with `plaid`."""

    Settings: ClassVar[type[BaseModel]] = ColbertIndexSettings
    filters: ClassVar[bool] = True

    def __init__(self, settings: ColbertIndexSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        (self.stage,) = self.score_names(settings)

    @classmethod
    def score_names(cls, settings: ColbertIndexSettings) -> set[str]:
        return {f"colbert-{settings.kind}"}

    @classmethod
    def shares(cls, settings: ColbertIndexSettings) -> bool:
        return settings.shared and settings.kind != "plaid"

    @cached_property
    def store(self) -> TokenStore:
        """The token vectors that every kind begins with; loading them loads the encoder."""
        return token_store(self.settings, self.resources)

    @cached_property
    def exact(self) -> ExactSearch:
        return ExactSearch(self.store)

    @cached_property
    def dense(self) -> DenseStore:
        """The embeddings that a shortlist is made by."""
        embedder = load_embedder(EmbedderSettings(model=self.settings.model), self.resources.compute)
        return DenseStore(self.resources.corpus, embedder, DENSE_CODEC, self.resources.note)

    @cached_property
    def plaid(self) -> PlaidIndex:
        from ragqa.index.plaid.plaid_index import PlaidIndex

        revision = self.resources.revision(self.settings.model)
        settings = pick(self.settings, EncoderSettings)
        return PlaidIndex(self.store, settings, self.resources.compute, revision)

    @property
    def _clustered(self) -> bool:
        """Whether a PLAID index is searched: the kind is that, and the corpus large enough."""
        if self.settings.kind != "plaid":
            return False
        return self.resources.corpus.count("passages") >= self.settings.exact_below

    @property
    def stores(self) -> Sequence[PassageStore]:
        return [self.store, self.dense] if self.settings.kind == "shortlist" else [self.store]

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of the corpus' PLAID indexes; what else is searched are rows of the stores."""
        if self.settings.kind != "plaid":
            return {}
        from ragqa.index.plaid.plaid_index import plaid_status

        return {folder["folder"]: int(folder["bytes"]) for folder in plaid_status(self.resources.corpus)}

    def search(self, query: str, k: int) -> list[Hit]:
        return self.search_batch([query], k)[0]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.prepare()
        if self._clustered:
            return [self._plaid(query, k) for query in queries]
        if self.settings.kind == "shortlist":
            return [self._shortlist(query, k) for query in queries]
        found = []
        for start in range(0, len(queries), SWEEP):
            found += self._exact(queries[start : start + SWEEP], k)
        return found

    def _exact(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        questions = self.store.encoder.encode_queries(queries)
        return [
            hits(self.resources.corpus, rowids, scores, self.stage)
            for rowids, scores in self.exact.search(questions, k, self.resources.allowed())
        ]

    def _shortlist(self, query: str, k: int) -> list[Hit]:
        matrix = self.dense.matrix()
        vector = self.dense.embedder.embed_queries([query])
        longest = max(k, self.settings.shortlist)
        ((places, _),) = matrix.search(vector, longest, self.resources.allowed())
        rowids = [matrix.rowids[place] for place in places]
        (question,) = self.store.encoder.encode_queries([query])
        scores = self.store.stored_scores(rowids, question)
        best_places = best(scores, k)
        keys = [rowids[place] for place in best_places]
        return hits(self.resources.corpus, keys, scores[best_places].tolist(), self.stage)

    def _plaid(self, query: str, k: int) -> list[Hit]:
        rowids, scores = self.plaid.search(query, k, self.resources.allowed())
        return hits(self.resources.corpus, rowids, scores, self.stage)[:k]

    def matches(self, query: str, hits: Sequence[Hit]) -> list[Matches | None]:
        from ragqa.matching.late import noted, stored_matches

        self.prepare()
        found = stored_matches(self.stage, self.store, query, [hit.passage for hit in hits])
        if self._clustered:
            found = [
                noted(matches, hit.scores.get(self.stage)) for matches, hit in zip(found, hits, strict=True)
            ]
        return [*found]

    def prepare(self) -> None:
        if self._clustered:
            self.plaid.check()
            return
        self.store.complete()
        if self.settings.kind == "shortlist":
            self.dense.complete()

    def missing(self) -> int:
        if self._clustered:
            return self.plaid.missing()
        short = self.dense.missing() if self.settings.kind == "shortlist" else 0
        return max(self.store.missing(), short)

    def build(self, on_passages: Callable[[int, int], None] = lambda done, total: None) -> int:
        if self.settings.kind == "shortlist":
            # One pass may give both; then those that have token vectors already.
            beside = self.dense if self.dense.comes_with(self.store.encoder) else None
            return max(self.store.build(on_passages, beside=beside), self.dense.build(on_passages))
        encoded = self.store.build(on_passages)
        if self._clustered:
            return self.plaid.build()
        if self.settings.kind == "plaid":
            self.plaid.forget()
        return encoded
