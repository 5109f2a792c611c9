"""Where RAGatouille's index code goes wrong or is slow, and what is done about it.

Every function says what it mends; each has a test that failed before it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.corpus.database import batches
from ragqa.corpus.passages import indexed_text
from ragqa.errors import RagqaError
from ragqa.index.token_store import TokenStore

if TYPE_CHECKING:
    from ragqa.types import Passage

# Rounds of k-means, and vectors a centroid at most.
KMEANS_ROUNDS, KMEANS_POINTS = 4, 39
# Passages whose vectors are handed over at a time.
HANDFUL = 1024


@contextmanager
def stored_vectors(store: TokenStore, passages: Sequence[Passage]) -> Iterator[None]:
    """While the block runs, the library gets the token vectors of these texts from the store.

    It would encode every text twice, once to sample vectors for k-means.
    """
    import torch
    from colbert.indexing.collection_encoder import CollectionEncoder
    from colbert.indexing.collection_indexer import CollectionIndexer
    from ragatouille.models.index import PLAIDModelIndex

    by_text = {indexed_text(passage)[0]: passage for passage in passages}
    original = CollectionEncoder.encode_passages

    def encode_passages(encoder: Any, texts: Sequence[str]) -> tuple[Any, Any]:
        if not texts:
            return None, None
        vectors, lengths = [], []
        for handful in batches(texts, HANDFUL):
            matrix = store.load([by_text[text] for text in handful])
            lengths += (matrix.offsets[1:] - matrix.offsets[:-1]).tolist()
            vectors.append(torch.nn.functional.normalize(torch.from_numpy(matrix.vectors), dim=1))
        return torch.cat(vectors), lengths

    CollectionEncoder.encode_passages = encode_passages
    PLAIDModelIndex.faiss_kmeans = staticmethod(_train_kmeans)
    if not hasattr(CollectionIndexer, "_ragqa_residual"):
        CollectionIndexer._ragqa_residual = CollectionIndexer._compute_avg_residual
        CollectionIndexer._compute_avg_residual = _compute_avg_residual
    try:
        yield
    finally:
        CollectionEncoder.encode_passages = original


@contextmanager
def index_root(root: Path) -> Iterator[None]:
    """Give the library the index root that it looks for in its global run, whatever it was given itself.

    What fails in it is raised as RagqaError.
    """
    from colbert.infra import Run, RunConfig

    try:
        with Run().context(RunConfig(nranks=1, experiment="colbert", root=str(root))):
            yield
    except (RuntimeError, ValueError, LookupError, AssertionError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RagqaError(f"RAGatouille could not write the PLAID index: {reason}") from error


def _train_kmeans(indexer: Any, sample: Any, shared_lists: Any) -> Any:
    """Return the index's centroids, shape (partitions, dimensions), by faiss.

    RAGatouille's own k-means compares every vector with every centroid in one matrix, gigabytes for
    a few hundred notes; colbert-ai's takes 20 rounds over 256 vectors a centroid, an hour for some
    thousand. Fewer rounds over faiss' recommended least of vectors lose nothing that we could measure.
    """
    import faiss
    import torch

    # A corpus of a few notes has fewer vectors than the library wants partitions.
    count = indexer.num_partitions = max(1, min(indexer.num_partitions, len(sample) // 2))
    kmeans = faiss.Kmeans(
        indexer.config.dim,
        count,
        niter=KMEANS_ROUNDS,
        max_points_per_centroid=KMEANS_POINTS,
        min_points_per_centroid=1,
        gpu=bool(indexer.use_gpu) and hasattr(faiss, "StandardGpuResources"),
        seed=123,
    )
    kmeans.train(sample.float().numpy())
    centroids = torch.nn.functional.normalize(torch.from_numpy(kmeans.centroids), dim=-1)
    return centroids.half() if indexer.use_gpu else centroids.float()


def _compute_avg_residual(indexer: Any, centroids: Any, heldout: Any) -> Any:
    """Do what colbert-ai does, on no more vectors than `torch.quantile` takes (2 ** 24 numbers)."""
    held = heldout[: 2**24 // heldout.shape[1]]
    return indexer._ragqa_residual(centroids, held if len(held) else centroids.half())


def trim_lists(folder: Path) -> None:
    """Take the padding off the index's inverted lists, over which colbert-ai's updater stumbles."""
    import torch

    path = folder / "ivf.pid.pt"
    ivf, lengths = torch.load(path, map_location="cpu", weights_only=True)
    torch.save((ivf[: int(lengths.sum())].clone(), lengths), path)


def correct_counts(folder: Path) -> None:
    """Write how many vectors the index has: colbert-ai's updater counts the old ones twice."""
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    lengths = [
        json.loads((folder / f"doclens.{chunk}.json").read_text(encoding="utf-8"))
        for chunk in range(metadata["num_chunks"])
    ]
    metadata["num_embeddings"] = sum(map(sum, lengths))
    path.write_text(json.dumps(metadata), encoding="utf-8")


def correct_paths(folder: Path, root: Path, checkpoint: str) -> None:
    """Write where the index and its checkpoint lie into its metadata: the corpus may have been moved."""
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    config = metadata["config"]
    wanted = {**config, "root": str(root), "experiment": "colbert", "index_name": folder.name}
    wanted["checkpoint"] = checkpoint
    if wanted != config:
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_text(json.dumps({**metadata, "config": wanted}), encoding="utf-8")
        os.replace(beside, path)
