"""The contracts of the two stages and the registry that finds them by the config's `type:`.

A class named here (or by the entry point groups `ragqa.retrievers` and `ragqa.rerankers`) has a
`Settings` class, which checks the stage's own keys, and is made with `(settings, resources)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from pydantic import BaseModel, ValidationError

from ragqa.config import StageSettings, explain
from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError, unknown_name
from ragqa.types import Hit


@dataclass(frozen=True, slots=True)
class Resources:
    """What a stage is given to work with. `device` is the config's word; `note` tells the user something."""

    corpus: Corpus
    device: str
    note: Callable[[str], None]


class Retriever(Protocol):
    """A first stage."""

    Settings: ClassVar[type[BaseModel]]

    def search(self, query: str, k: int) -> list[Hit]:
        """Return the best `k` passages or fewer, best first, ranks from 1."""

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Return what `search` returns for each query; may share work between them."""


class Reranker(Protocol):
    """A second stage."""

    Settings: ClassVar[type[BaseModel]]

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        """Return the best `k` of `hits` in a new order, ranks from 1, keeping the scores they came with."""


@runtime_checkable
class Derived(Protocol):
    """A stage that searches something made from the corpus, which can be missing or stale."""

    def missing(self) -> int:
        """Return how many passages are not in it yet."""

    def build(self, on_passages: Callable[[int, int], None]) -> int:
        """Make what is missing, resumably, and return how many passages that were."""


RETRIEVERS = {
    "fts": "ragqa.retrieve.fts:FullTextRetriever",
}
RERANKERS = {
    "none": "ragqa.rerank.none:NoReranker",
    "colbert": "ragqa.rerank.colbert:ColbertReranker",
}


def make_retriever(stage: StageSettings, resources: Resources) -> Retriever:
    """Return the first stage that `stage` names; raises UsageError for an unknown type or key."""
    return cast(Retriever, _make("retriever", RETRIEVERS, stage, resources))


def make_reranker(stage: StageSettings, resources: Resources) -> Reranker:
    """Return the second stage that `stage` names; raises UsageError for an unknown type or key."""
    return cast(Reranker, _make("reranker", RERANKERS, stage, resources))


def check_stages(retrieve: StageSettings, rerank: StageSettings) -> None:
    """Raise UsageError when a stage's type or one of its keys is unknown; nothing is loaded for it."""
    _settings("retriever", RETRIEVERS, retrieve)
    _settings("reranker", RERANKERS, rerank)


def _make(kind: str, shipped: dict[str, str], stage: StageSettings, resources: Resources) -> Any:
    cls, settings = _settings(kind, shipped, stage)
    return cls(settings, resources)


def _settings(kind: str, shipped: dict[str, str], stage: StageSettings) -> tuple[Any, BaseModel]:
    plugins = {point.name: point for point in entry_points(group=f"ragqa.{kind}s")}
    if stage.type in shipped:
        module, _, name = shipped[stage.type].partition(":")
        cls = getattr(import_module(module), name)
    elif stage.type in plugins:
        cls = plugins[stage.type].load()
    else:
        raise unknown_name(kind, stage.type, [*shipped, *plugins])
    try:
        return cls, cls.Settings(**stage.options)
    except ValidationError as error:
        raise UsageError(f"The {kind} {stage.type!r} is wrong: {explain(error, cls.Settings)}") from error
