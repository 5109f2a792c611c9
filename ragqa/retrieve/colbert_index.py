"""Full ColBERT search: late interaction with every passage, instead of with a first stage's candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel

from ragqa.colbert.encoder import EncoderSettings
from ragqa.colbert.engines import load_encoder
from ragqa.colbert.exact import ExactSearch
from ragqa.colbert.quantise import Codec
from ragqa.colbert.store import TokenStore
from ragqa.retrieve.ranking import best, hits
from ragqa.stages import Resources, pick
from ragqa.types import Hit

if TYPE_CHECKING:
    from ragqa.colbert.ragatouille.plaid import PlaidIndex

# Questions whose tokens are compared with the whole corpus in one sweep.
SWEEP = 64


class ColbertIndexSettings(EncoderSettings):
    """The encoder's keys, the `codec` of the stored vectors, and the `kind` of search over them.

    `exact` compares every token vector, and sees every change at once. `plaid` searches RAGatouille's
    compressed index of them, which `ragqa index` builds.
    """

    kind: Literal["exact", "plaid"] = "exact"
    codec: Codec = "int4"


class ColbertIndexRetriever:
    """The first stage `colbert-index`. Scores are MaxSim, approximate with `plaid`."""

    Settings: ClassVar[type[BaseModel]] = ColbertIndexSettings

    def __init__(self, settings: ColbertIndexSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        self.stage = f"colbert-{settings.kind}"

    @cached_property
    def store(self) -> TokenStore:
        """The token vectors that both kinds search; loading them loads the encoder."""
        encoder = load_encoder(pick(self.settings, EncoderSettings), self.resources.compute)
        return TokenStore(self.resources.corpus, encoder, self.settings.codec, self.resources.note)

    @cached_property
    def exact(self) -> ExactSearch:
        return ExactSearch(self.store)

    @cached_property
    def plaid(self) -> PlaidIndex:
        from ragqa.colbert.ragatouille.plaid import PlaidIndex

        return PlaidIndex(self.store, pick(self.settings, EncoderSettings), self.resources.compute)

    def search(self, query: str, k: int) -> list[Hit]:
        return self.search_batch([query], k)[0]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.prepare()
        if self.settings.kind == "plaid":
            return [self._plaid(query, k) for query in queries]
        found = []
        for start in range(0, len(queries), SWEEP):
            found += self._exact(queries[start : start + SWEEP], k)
        return found

    def _exact(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        rowids, scores = self.exact.scores(self.store.encoder.encode_queries(queries))
        found = []
        for column in scores.T:
            places = best(column, k)
            keys = [rowids[place] for place in places]
            found.append(hits(self.resources.corpus, keys, column[places].tolist(), self.stage))
        return found

    def _plaid(self, query: str, k: int) -> list[Hit]:
        rowids, scores = self.plaid.search(query, k)
        return hits(self.resources.corpus, rowids, scores, self.stage)[:k]

    def prepare(self) -> None:
        if self.settings.kind == "plaid":
            self.plaid.check()
        else:
            self.store.complete()

    def missing(self) -> int:
        return self.plaid.missing() if self.settings.kind == "plaid" else self.store.missing()

    def build(self, on_passages: Callable[[int, int], None] = lambda done, total: None) -> int:
        encoded = self.store.build(on_passages)
        return self.plaid.build() if self.settings.kind == "plaid" else encoded
