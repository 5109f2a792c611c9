"""Token pooling: like token vectors of one passage become their mean, so that fewer are stored and compared.

Clavié, Chaffin and Adams 2024, "Reducing the footprint of multi-vector retrieval with minimal
performance impact via token pooling" (arXiv:2409.14683), their hierarchical method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragqa.encoders.tokens import Vectors

Clusters = NDArray[np.uint16]


def cluster(vectors: Vectors, factor: float) -> Clusters:
    """Return the number of the cluster of each of `vectors`, which are L2-normalised: shape (tokens,).

    Ward's linkage over cosine distances, cut where there is one cluster for every `factor` vectors;
    numbers count from 0 and each has a vector.
    """
    wanted = max(int(len(vectors) // factor), 1)
    if wanted >= len(vectors):
        return np.arange(len(vectors), dtype=np.uint16)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = np.clip(1 - vectors @ vectors.T, 0, 2)
    labels = fcluster(linkage(squareform(distances, checks=False), "ward"), wanted, "maxclust")
    # Ties can leave a number without a vector.
    numbers: Clusters = np.unique(labels, return_inverse=True)[1].astype(np.uint16)
    return numbers


def pool(vectors: Vectors, clusters: Clusters) -> Vectors:
    """Return the L2-normalised mean of each cluster, shape (clusters, dimensions)."""
    if not len(vectors):
        return vectors
    numbers = np.arange(int(clusters.max()) + 1)[:, None]
    # A product with ones and zeros, because adding row by row takes ten times as long.
    sums = (numbers == clusters).astype(np.float32) @ vectors
    unit: Vectors = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return unit
