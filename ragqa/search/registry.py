"""Stages by the config's `type:`: made, and checked before anything is made.

A class is named here or by the entry point groups `ragqa.retrievers` and `ragqa.rerankers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from ragqa.config import StageSettings, explain
from ragqa.corpus.database import RowSource
from ragqa.errors import UsageError, unknown_name
from ragqa.search.contracts import Reranker, Resources, Retriever

RETRIEVERS = {
    "fts": "ragqa.retrieve.fts:FullTextRetriever",
    "dense": "ragqa.retrieve.dense:DenseRetriever",
    "hybrid": "ragqa.retrieve.hybrid:HybridRetriever",
    "neighbours": "ragqa.retrieve.neighbours:NeighboursRetriever",
    "colbert-index": "ragqa.retrieve.colbert_index:ColbertIndexRetriever",
    "sqlite-fts": "ragqa.retrieve.sqlite_fts:SqliteFtsRetriever",
    "llm-collection": "ragqa.retrieve.llm_collection:LlmCollectionRetriever",
    "lancedb": "ragqa.retrieve.lance:LanceRetriever",
}
RERANKERS = {
    "none": "ragqa.rerank.none:NoReranker",
    "colbert": "ragqa.rerank.colbert:ColbertReranker",
    "ragatouille": "ragqa.rerank.ragatouille:RagatouilleReranker",
    "cross-encoder": "ragqa.rerank.cross_encoder:CrossEncoderReranker",
}


def make_retriever(stage: StageSettings, resources: Resources) -> Retriever:
    """Return the first stage that `stage` names; the corpus learns of one that has rows of passages.

    Raises UsageError for an unknown type or key, and for a condition that it would not obey.
    """
    cls, settings = _settings("retriever", RETRIEVERS, stage)
    if resources.where is not None and not getattr(cls, "filters", False):
        raise UsageError(
            f"The first stage {stage.type!r} takes no condition (where): it would find what that keeps out."
        )
    made = cls(settings, resources)
    if isinstance(made, RowSource):
        resources.corpus.elsewhere.append(made)
    return cast(Retriever, made)


def make_reranker(stage: StageSettings, resources: Resources) -> Reranker:
    """Return the second stage that `stage` names; raises UsageError for an unknown type or key."""
    cls, settings = _settings("reranker", RERANKERS, stage)
    return cast(Reranker, cls(settings, resources))


def check_retriever(stage: StageSettings) -> None:
    """Raise UsageError when a first stage's type or one of its keys is unknown."""
    _settings("retriever", RETRIEVERS, stage)


def needs_no_corpus(stage: StageSettings) -> bool:
    """Tell whether a first stage searches something that is no part of a corpus."""
    parts = stage_parts(stage)
    if parts:
        return all(needs_no_corpus(part) for part in parts) and stage.type == "hybrid"
    cls, _ = _settings("retriever", RETRIEVERS, stage)
    return bool(getattr(cls, "foreign", False))


def check_stages(retrieve: StageSettings, rerank: StageSettings) -> None:
    """Raise UsageError when a stage's type or one of its keys is unknown; nothing is loaded for it."""
    check_retriever(retrieve)
    _, settings = _settings("reranker", RERANKERS, rerank)
    fusion = getattr(settings, "fuse", None)
    known = {*_score_names(retrieve), rerank.type}
    for name in getattr(fusion, "weights", ()):
        if name not in known:
            raise UsageError(
                f"The reranker {rerank.type!r} is wrong: fuse.weights names {name!r}, and its candidates "
                f"have scores of {', '.join(sorted(known))}."
            )


def shares(stage: StageSettings) -> bool:
    """Tell whether several pipelines of one process may search with a first stage, and its parts, at once."""
    return _shares("retriever", RETRIEVERS, stage)


def reranker_shares(stage: StageSettings) -> bool:
    """Tell the same of a second stage."""
    return _shares("reranker", RERANKERS, stage)


def _shares(kind: str, shipped: dict[str, str], stage: StageSettings) -> bool:
    cls, settings = _settings(kind, shipped, stage)
    return hasattr(cls, "shares") and cls.shares(settings) and all(map(shares, stage_parts(stage)))


def _score_names(stage: StageSettings) -> set[str]:
    """Return the names under which hits of a first stage carry scores."""
    cls, settings = _settings("retriever", RETRIEVERS, stage)
    names = set(cls.score_names(settings)) if hasattr(cls, "score_names") else {stage.type}
    parts = stage_parts(stage)
    for part, suffix in zip(parts, score_suffixes(parts), strict=True):
        names |= {name + suffix for name in _score_names(part)}
    return names


def score_suffixes(parts: Sequence[StageSettings]) -> list[str]:
    """Return what each part's score names get at their end so that no two parts share one: "" or "-2"."""
    taken: set[str] = set()
    suffixes = []
    for part in parts:
        names, number = _score_names(part), 1
        while {f"{name}-{number}" if number > 1 else name for name in names} & taken:
            number += 1
        suffixes.append(f"-{number}" if number > 1 else "")
        taken |= {name + suffixes[-1] for name in names}
    return suffixes


def stage_parts(stage: StageSettings) -> list[StageSettings]:
    """Return the stages that a stage's settings name."""
    listed: list[Any] = []
    for value in stage.options.values():
        listed.extend(value if isinstance(value, list | tuple) else [value])
    return [
        part if isinstance(part, StageSettings) else StageSettings(**part)
        for part in listed
        if isinstance(part, StageSettings) or (isinstance(part, dict) and "type" in part)
    ]


def _settings(kind: str, shipped: dict[str, str], stage: StageSettings) -> tuple[Any, BaseModel]:
    if stage.type in shipped:
        module, _, name = shipped[stage.type].partition(":")
        cls = getattr(import_module(module), name)
    else:
        # Looked for only now: reading what every installed package says takes a while.
        plugins = {point.name: point for point in entry_points(group=f"ragqa.{kind}s")}
        if stage.type not in plugins:
            raise unknown_name(kind, stage.type, [*shipped, *plugins])
        cls = plugins[stage.type].load()
    try:
        return cls, cls.Settings(**stage.options)
    except ValidationError as error:
        raise UsageError(f"The {kind} {stage.type!r} is wrong: {explain(error, cls.Settings)}") from error
