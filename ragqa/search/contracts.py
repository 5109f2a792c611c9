"""What a stage is, and what it may be besides: the one place where anybody asks what a stage can do.

A stage has a `Settings` class, which checks its own keys, and is made with `(settings, resources)`. It is a
Retriever or a Reranker. All else it declares, by attributes of its class (`filters`, `foreign`, `shares`,
`score_names`) and by methods that the protocols below name; nobody asks for a stage by its class, so that
one of somebody else's can all that those here can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from ragqa.config import ChunkSettings
from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.encoders.hub import indexed_revision
from ragqa.types import Hit
from ragqa.where import Condition, allowed_passages, unknown_keys

if TYPE_CHECKING:
    from ragqa.index.passage_store import PassageStore
    from ragqa.index.token_store import TokenSource
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
    """A first stage. What its class may declare:

    `filters = True`: it finds only what the resources' `where` lets through; any other is refused where there
    is a condition. `foreign = True`: it searches something that is no part of a corpus.
    `shares(settings)`, a class method: whether several pipelines in one process may search with it at once;
    False for a stage that has none. `score_names(settings)`, a class method: the names under which its hits
    carry scores, where that is not its type.
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


@runtime_checkable
class Storing(Protocol):
    """A stage whose vectors are rows of the corpus file."""

    @property
    def stores(self) -> Sequence[PassageStore]: ...


@runtime_checkable
class Sized(Protocol):
    """A stage that searches something besides the rows of its stores."""

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of each such thing by a name of its own, which two stages share with the thing."""


@runtime_checkable
class FullText(Protocol):
    """A stage that asks an index of words."""

    def match_expression(self, query: str) -> str:
        """Return what the index is asked for `query`, "" where that is nothing."""


@runtime_checkable
class LateInteraction(Protocol):
    """A second stage that scores by token vectors, by which single sentences can be scored as well."""

    @property
    def token_source(self) -> TokenSource: ...


@runtime_checkable
class LoadsAhead(Protocol):
    """A second stage that can load its model while the first one searches."""

    def load_ahead(self) -> None:
        """Begin to load what the first question needs, where that is quick, and return at once."""


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
