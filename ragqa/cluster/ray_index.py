"""Vectors made by the workers of a Ray cluster: batches of passages go out, rows come back in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from ragqa.cluster.ray_cluster import Cluster
from ragqa.cluster.ray_pool import Pool
from ragqa.config import Config
from ragqa.corpus.database import Corpus
from ragqa.corpus.passages import indexed_text
from ragqa.errors import RagqaError, UsageError
from ragqa.index.passage_store import PassageStore, Row
from ragqa.operations.corpus import stores_of
from ragqa.pipeline import Pipeline
from ragqa.types import Passage

# Machines whose speeds are named one by one.
NAMED = 4

# A store's table and fingerprint, which two stores share only where they would hold the same rows.
Key = tuple[str, str]


@runtime_checkable
class Paced(Protocol):
    """An encoder that hands over to another engine once it has encoded `encoded` tokens or so."""

    encoded: int

    def pass_over(self, texts: Sequence[str]) -> None:
        """Count texts that another process encodes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Passages to be encoded for a store, and the one beside it; `encoded` is what its encoder had before."""

    store: Key
    beside: Key | None
    passages: Sequence[Passage]
    encoded: int

    def __len__(self) -> int:
        return len(self.passages)


@dataclass(frozen=True, slots=True)
class Encoding:
    """A Job: a config as JSON, and by their keys the descriptions of the stores that it comes to."""

    config: str
    stores: dict[Key, str]

    def load(self) -> Callable[[Batch], list[dict[int, Row]]]:
        """Return what encodes a batch, by the stages of the config itself.

        Raises RagqaError where they would make other rows here than on the machine that sends the batches.
        """
        # The stages read the revisions of hub models in a corpus, and need nothing else of one.
        with Corpus.temporary() as corpus:
            corpus.connection.executemany(
                "INSERT INTO encoders (fingerprint, description) VALUES (?, ?)",
                {fingerprint: about for (_, fingerprint), about in self.stores.items()}.items(),
            )
            corpus.connection.commit()
            pipeline = Pipeline(Config.model_validate_json(self.config), corpus)
            found = {_key(store): store for store in stores_of(pipeline.derived().values())}
        for key, about in self.stores.items():
            if key not in found:
                model = json.loads(about)["model"]
                raise RagqaError(
                    f"The model {model} is another one there: its vectors would not go with this machine's."
                )

        def encode(batch: Batch) -> list[dict[int, Row]]:
            store = found[batch.store]
            encoder = store.question_model
            if isinstance(encoder, Paced):
                encoder.encoded = batch.encoded
            return store.make(batch.passages, found[batch.beside] if batch.beside else None)

        return encode


class RayEngine:
    """A RowEngine for the stores of `pipeline`. A context manager: it ends its workers, not the cluster.

    Raises UsageError for a device that only one machine has.
    """

    def __init__(self, cluster: Cluster, pipeline: Pipeline) -> None:
        check_device(pipeline.config.device)
        self.cluster = cluster
        self.pipeline = pipeline
        self._pool: Pool | None = None

    def rows(
        self, store: PassageStore, beside: PassageStore | None, passages: Iterable[Sequence[Passage]]
    ) -> Iterator[list[dict[int, Row]]]:
        waiting = iter(passages)
        first = next(waiting, None)
        if first is None:
            # Nothing is started for nothing.
            return
        batches = (self._batch(store, beside, batch) for batch in chain([first], waiting))
        yield from self._started().map(batches)

    def about(self) -> str:
        """Return how many passages each machine encodes in a second, "" while there is nothing to say."""
        rates = self._pool.rates() if self._pool else {}
        if len(rates) > NAMED:
            slow, fast = min(rates.values()), max(rates.values())
            return f"{len(rates)} nodes, {slow:,.0f} to {fast:,.0f}/s each"
        return ", ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items())

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> Pool:
        if self._pool is None:
            stores = stores_of(self.pipeline.derived().values())
            job = Encoding(
                self.pipeline.config.model_dump_json(), {_key(store): store.description for store in stores}
            )
            self._pool = make_pool(self.cluster, job, self.pipeline.config.device)
        return self._pool

    @staticmethod
    def _batch(store: PassageStore, beside: PassageStore | None, passages: Sequence[Passage]) -> Batch:
        encoder = store.question_model
        encoded = 0
        if isinstance(encoder, Paced):
            encoded = encoder.encoded
            encoder.pass_over([indexed_text(passage)[0] for passage in passages])
        return Batch(_key(store), _key(beside) if beside else None, passages, encoded)


def check_device(device: str) -> None:
    """Raise UsageError for a device that only one machine has: a worker gets the GPU that is free."""
    if device.startswith("cuda:"):
        raise UsageError(f"--engine ray gives each worker a GPU of its own: say cuda instead of {device}.")


def make_pool(cluster: Cluster, job: Any, device: str) -> Pool:
    """Return the workers for `job` on `device`: on GPUs where the device may be one and the cluster has some.

    Raises RagqaError when the device is "cuda" and the cluster has none.
    """
    cluster.connect()
    gpus = any(node.gpus for node in cluster.nodes())
    if device == "cuda" and not gpus:
        raise RagqaError("No node of the Ray cluster has a GPU, and the device wanted is cuda.")
    return Pool(cluster, job, gpus=gpus and device in ("auto", "cuda"))


def _key(store: PassageStore) -> Key:
    return store.table, store.fingerprint
