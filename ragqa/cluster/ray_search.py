"""Question sets searched by the workers of a Ray cluster, each with the same corpus file open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ragqa.cluster.ray_cluster import Cluster
from ragqa.cluster.ray_index import check_device, make_pool
from ragqa.config import Config
from ragqa.errors import RagqaError
from ragqa.search.many import SharedQuestion, SharedSearch
from ragqa.search.one import Searcher
from ragqa.types import SearchResult

# Questions that a worker takes at a time.
BATCH = 8

Found = list[tuple[int, SearchResult]]


@dataclass(frozen=True, slots=True)
class Strategy:
    """A Searcher as plain values: its config as JSON, its corpus, how many passages it finds."""

    config: str
    path: str
    fingerprint: str
    depth: int

    def open(self) -> Searcher:
        """Return what searches; raises RagqaError where the corpus is not there or is another one."""
        if not Path(self.path).is_file():
            raise RagqaError(
                f"There is no corpus at {self.path}: --engine ray wants it at the same path on every machine."
            )
        opened = Searcher.from_config(Config.model_validate_json(self.config), self.path)
        if opened.fingerprint() != self.fingerprint:
            opened.close()
            raise RagqaError(f"The corpus at {self.path} has other documents there than on this machine.")
        return opened


@dataclass(frozen=True, slots=True)
class SearchJob:
    """A Job: the searchers, and a question to warm them up."""

    strategies: tuple[Strategy, ...]
    warm_up: str

    def load(self) -> Callable[[Sequence[SharedQuestion]], list[Found]]:
        """Return what searches for a batch of questions; raises what `Strategy.open` raises."""
        opened = [strategy.open() for strategy in self.strategies]
        searchers = SharedSearch(opened, [strategy.depth for strategy in self.strategies])
        searchers.warm_up(self.warm_up)
        return lambda questions: [list(searchers.search(question)) for question in questions]


class RaySearch:
    """A SearchEngine by the workers of `cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def results(
        self, searchers: SharedSearch, warm_up: str, questions: Iterable[SharedQuestion]
    ) -> Iterator[Found]:
        devices = {searcher.config.device for searcher in searchers.searchers}
        for device in devices:
            check_device(device)
        waiting = iter(questions)
        batches = list(iter(lambda: tuple(islice(waiting, BATCH)), ()))
        if not batches:
            return
        # One worker serves all pipelines, and has a GPU where one of them may use it.
        device = next((name for name in ("cuda", "auto") if name in devices), "cpu")
        pool = make_pool(self.cluster, SearchJob(_strategies(searchers), warm_up), device)
        try:
            for found in pool.map(batches):
                yield from found
        finally:
            pool.close()


def _strategies(searchers: SharedSearch) -> tuple[Strategy, ...]:
    return tuple(
        Strategy(
            pipeline.config.model_dump_json(),
            str(pipeline.corpus.path.resolve()),
            pipeline.fingerprint(),
            depth,
        )
        for pipeline, depth in zip(searchers.searchers, searchers.depths, strict=True)
    )
