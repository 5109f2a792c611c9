"""The stores that a stage's settings come to. Making one loads its model."""

from __future__ import annotations

from pydantic import BaseModel

from ragqa.config import pick
from ragqa.encoders.embedder import EmbedderSettings, load_embedder
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.index.dense_store import Codec, DenseStore
from ragqa.index.token_store import StorageSettings, TokenStore
from ragqa.search.contracts import Resources


def token_store(settings: BaseModel, resources: Resources) -> TokenStore:
    """Return the store that a stage's settings, those of an encoder and of storage among them, come to."""
    own = pick(settings, EncoderSettings)
    encoder = load_encoder(own, resources.compute, resources.revision(own.model))
    return TokenStore(resources.corpus, encoder, pick(settings, StorageSettings), resources.note)


def dense_store(settings: BaseModel, codec: Codec, resources: Resources) -> DenseStore:
    """Return the store that a stage's settings, those of an embedder among them, come to."""
    own = pick(settings, EmbedderSettings)
    embedder = load_embedder(own, resources.compute, resources.revision(own.model))
    return DenseStore(resources.corpus, embedder, codec, resources.note)
