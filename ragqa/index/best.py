"""The best of many scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def best(scores: NDArray[Any], k: int) -> list[int]:
    """Return the places of the `k` highest scores, highest first, the lower place first among equals."""
    if k < len(scores):
        # All that reach the k-th score, so that among equals the lower place is in.
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= threshold)
    else:
        places = np.arange(len(scores))
    order = np.lexsort((places, -scores[places]))[:k]
    chosen: list[int] = places[order].tolist()
    return chosen
