"""The contracts of the two stages and the registry that finds them by the config's `type:`.

A class named here (or by the entry point groups `ragqa.retrievers` and `ragqa.rerankers`) has a
`Settings` class, which checks the stage's own keys, and is made with `(settings, resources)`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

from pydantic import BaseModel, ValidationError

from ragqa.config import ChunkSettings, StageSettings, explain
from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.encoders.hub import indexed_revision
from ragqa.errors import UsageError, unknown_name
from ragqa.types import Hit
from ragqa.where import Condition, allowed_passages, unknown_keys

if TYPE_CHECKING:
    from ragqa.types import Matches


@dataclass(frozen=True, slots=True)
class Resources:
    """What a stage is given to work with; `note` tells the user something worth knowing.

    `where` is what documents must meet: a first stage finds no passage of another one.
    """

    corpus: Corpus
    compute: Compute
    note: Callable[[str], None]
    chunk: ChunkSettings = field(default_factory=ChunkSettings)
    where: Condition | None = None
    _revisions: dict[str, str | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    _allowed: dict[tuple[int, int], frozenset[int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    # Stages that search side by side ask for the same.
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def revision(self, model: str) -> str | None:
        """Return the commit of a hub's model that the corpus was indexed with when it was first asked for."""
        if model not in self._revisions:
            self._revisions[model] = indexed_revision(self.corpus.connection, model)
        return self._revisions[model]

    def allowed(self) -> frozenset[int] | None:
        """Return the keys of the passages that the condition lets through; None when there is none.

        It is the same object while the corpus is unchanged, so that what is made of it can be kept as long.
        The first time, `note` is told which keys of the condition no document has.
        """
        if self.where is None:
            return None
        with self._turn:
            state = self.corpus.state()
            if state not in self._allowed:
                for sentence in () if self._allowed else unknown_keys(self.corpus.connection, self.where):
                    self.note(sentence)
                passages = allowed_passages(self.corpus.connection, self.where)
                self._allowed.clear()
                self._allowed[state] = passages
            return self._allowed[state]


class Retriever(Protocol):
    """A first stage.

    One that finds only what the resources' `where` lets through says so with `filters = True`; any other is
    refused where there is a condition.
    """

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

    def prepare(self) -> None:
        """Make the little that is missing, or raise RagqaError with the command that makes it.

        Called before every search: a stage never silently searches less than the corpus.
        """

    def missing(self) -> int:
        """Return how many passages are not in it yet."""

    def build(self, on_passages: Callable[[int, int], None]) -> int:
        """Make what is missing, resumably, and return how many passages that were."""


@runtime_checkable
class Composite(Protocol):
    """A first stage made of others."""

    def parts(self) -> Mapping[str, Retriever]:
        """Return the stages that it is made of, by name."""


@runtime_checkable
class Explaining(Protocol):
    """A stage that can say which words of a passage gave it its score."""

    def matches(self, query: str, hits: Sequence[Hit]) -> list[Matches | None]:
        """Return what the stage matched in each hit, whether or not it found it; None where that is nothing.

        The shares of the query words sum up to the stage's own score.
        """


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

_Section = TypeVar("_Section", bound=BaseModel)


def make_retriever(stage: StageSettings, resources: Resources) -> Retriever:
    """Return the first stage that `stage` names.

    Raises UsageError for an unknown type or key, and for a condition that it would not obey.
    """
    cls, settings = _settings("retriever", RETRIEVERS, stage)
    if resources.where is not None and not getattr(cls, "filters", False):
        raise UsageError(
            f"The first stage {stage.type!r} takes no condition (where): it would find what that keeps out."
        )
    return cast(Retriever, cls(settings, resources))


def make_reranker(stage: StageSettings, resources: Resources) -> Reranker:
    """Return the second stage that `stage` names; raises UsageError for an unknown type or key."""
    cls, settings = _settings("reranker", RERANKERS, stage)
    return cast(Reranker, cls(settings, resources))


def pick(settings: BaseModel, part: type[_Section]) -> _Section:
    """Return the keys of `settings` that belong to `part`, a model that its class extends."""
    return part(**{name: getattr(settings, name) for name in part.model_fields})


def merge(stages: dict[str, Derived], others: Mapping[str, Derived]) -> None:
    """Add `others` to `stages`, numbering a name that is taken."""
    for name, stage in others.items():
        unique, number = name, 2
        while unique in stages:
            unique, number = f"{name}-{number}", number + 1
        stages[unique] = stage


def derived_stages(name: str, stage: object) -> dict[str, Derived]:
    """Return `stage`, or the stages that it is made of, where they search something made from the corpus."""
    if isinstance(stage, Composite):
        found: dict[str, Derived] = {}
        for part_name, part in stage.parts().items():
            merge(found, derived_stages(part_name, part))
        return found
    return {name: stage} if isinstance(stage, Derived) else {}


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


def _score_names(stage: StageSettings) -> set[str]:
    """Return the names under which hits of a first stage carry scores."""
    options = stage.options
    names = {f"colbert-{options.get('kind', 'exact')}" if stage.type == "colbert-index" else stage.type}
    if stage.type == "lancedb":
        mode = str(options.get("mode", "hybrid"))
        names = {"fts", "dense", "lancedb"} if mode == "hybrid" else {mode}
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
