"""RAGatouille's own index-free reranking: question and candidates are encoded anew at every question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from ragqa.corpus.passages import indexed_text
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.ragatouille.encoder import RagatouilleEncoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.rerank.order import RerankerSettings, reorder
from ragqa.search.contracts import Resources
from ragqa.types import Hit

if TYPE_CHECKING:
    from ragqa.types import Matches

STAGE = "ragatouille"


class RagatouilleSettings(RerankerSettings):
    """`model` is "embedded", a folder or a hub name; `fuse` blends the new order with the one given."""

    model: str = "embedded"


class RagatouilleReranker:
    """The second stage `ragatouille`. Scores are those of `RAGPretrainedModel.rerank`."""

    Settings: ClassVar[type[BaseModel]] = RagatouilleSettings

    def __init__(self, settings: RagatouilleSettings, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources

    @cached_property
    def encoder(self) -> RagatouilleEncoder:
        settings = EncoderSettings(model=self.settings.model, engine="ragatouille")
        revision = self.resources.revision(self.settings.model)
        encoder = load_encoder(settings, self.resources.compute, revision)
        assert isinstance(encoder, RagatouilleEncoder)
        return encoder

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        texts = [indexed_text(hit.passage)[0] for hit in hits]
        return reorder(hits, self.encoder.rerank(query, texts), STAGE, self.settings.fuse, k)

    def matches(self, query: str, hits: Sequence[Hit]) -> list[Matches | None]:
        from ragqa.matching.encoded import encoded_question, encoded_texts
        from ragqa.matching.late import late_matches

        texts = [indexed_text(hit.passage)[0] for hit in hits]
        with _lengths_of_rerank(self.encoder, query):
            question, documents = encoded_question(self.encoder, query), encoded_texts(self.encoder, texts)
        return [*late_matches(STAGE, question, documents)]


@contextmanager
def _lengths_of_rerank(encoder: RagatouilleEncoder, query: str) -> Iterator[None]:
    """Cut texts where `RAGPretrainedModel.rerank` cuts them while the block runs.

    It reads as much of a text as the model can, and fills a question up to the length that it guesses it
    has, or to 32 (`_encode_index_free_queries`).
    """
    questions, documents = encoder.checkpoint.query_tokenizer, encoder.checkpoint.doc_tokenizer
    most = encoder.model.model.base_model_max_tokens
    lengths = questions.query_maxlen, documents.doc_maxlen
    questions.query_maxlen = max(min(int(len(query.split(" ")) * 1.35), most), 32)
    # Tokenizers of our own go no further than their checkpoint says, whatever the library sets.
    documents.doc_maxlen = min(most, getattr(documents, "limit", most))
    try:
        yield
    finally:
        questions.query_maxlen, documents.doc_maxlen = lengths
