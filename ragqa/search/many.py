"""Many questions, several searchers: what they have in common is done once, and each is timed as if alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragqa.search.contracts import Storing
from ragqa.search.one import Searcher
from ragqa.types import SearchResult

ENCODE = "encode"


@dataclass(frozen=True, slots=True)
class SharedQuestion:
    """A question, and the places of the searchers that it is for."""

    text: str
    places: tuple[int, ...]


class SearchEngine(Protocol):
    """What searches for many questions: other processes, say, or other machines."""

    def results(
        self, searchers: SharedSearch, warm_up: str, questions: Iterable[SharedQuestion]
    ) -> Iterator[Iterable[tuple[int, SearchResult]]]:
        """Yield, for each question in their order, what `searchers.search` yields.

        Whatever searches warms up with the question `warm_up`.
        """


class SharedSearch:
    """Searches with several searchers, each of which finds as many as its depth.

    A question is encoded once for all that have the same encoder, and a first stage that several of them have
    searches once.
    """

    def __init__(self, searchers: Sequence[Searcher], depths: Sequence[int]) -> None:
        self.searchers = searchers
        self.depths = depths

    def warm_up(self, text: str) -> None:
        """Load every stage's models, so that no question's time has that in it."""
        for searcher, depth in zip(self.searchers, self.depths, strict=True):
            searcher.search(text, depth)
        _encode(self.searchers, text)

    def search(self, question: SharedQuestion) -> Iterator[tuple[int, SearchResult]]:
        """Yield what each searcher finds, with the searcher's place."""
        searchers = [self.searchers[place] for place in question.places]
        encoded = _encode(searchers, question.text)
        first_stages: dict[str, SearchResult] = {}
        for place, searcher in zip(question.places, searchers, strict=True):
            yield place, self._search(place, question.text, first_stages, encoded[id(searcher)])

    def _search(
        self, place: int, text: str, first_stages: dict[str, SearchResult], encode_ms: float | None
    ) -> SearchResult:
        searcher, depth = self.searchers[place], self.depths[place]
        config = searcher.config
        stage = config.retrieve.model_dump_json()
        corpus = "" if searcher.searches_elsewhere() else searcher.corpus.path
        key = str((corpus, stage, config.where, config.device, config.dtype, config.candidates, depth))
        with searcher.snapshot():
            if key not in first_stages:
                first_stages[key] = searcher.candidates(text, depth)
            result = searcher.rerank(first_stages[key], depth)
        encode = {} if encode_ms is None else {ENCODE: encode_ms}
        # Results are kept by the thousand, and go from one process to another: without candidates.
        return SearchResult(result.question, config.name, result.hits, {**encode, **result.timings_ms})


def _encode(searchers: Sequence[Searcher], text: str) -> dict[int, float | None]:
    """Encode a question with every encoder of `searchers`; return the milliseconds of each searcher's.

    The encoders remember it, so that the stages need not. None: a searcher has no encoder.
    """
    took: dict[int, float] = {}
    found: dict[int, float | None] = {}
    for searcher in searchers:
        stages = [stage for stage in searcher.derived().values() if isinstance(stage, Storing)]
        stores = {id(store.question_model): store for stage in stages for store in stage.stores}
        for model, store in stores.items():
            if model not in took:
                start = time.perf_counter()
                store.encode_question(text)
                took[model] = (time.perf_counter() - start) * 1000
        found[id(searcher)] = round(sum(took[model] for model in stores), 2) if stores else None
    return found
