from __future__ import annotations

import numpy as np
import pytest

from ragqa.index.quantise import Codec, bytes_per_vector, decode, encode


@pytest.mark.parametrize(("codec", "cosine"), [("int8", 0.9999), ("int4", 0.99), ("int2", 0.91)])
@pytest.mark.parametrize("dimensions", [384, 127])
def test_vectors_survive_within_the_codecs_error(codec: Codec, cosine: float, dimensions: int) -> None:
    generator = np.random.default_rng(1)
    matrices = [generator.normal(size=(size, dimensions)).astype(np.float32) for size in (4, 0, 9)]
    matrices = [matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in matrices]
    blobs = [encode(matrix, codec) for matrix in matrices]
    row = bytes_per_vector(dimensions, codec)
    assert (
        row
        == 2
        + {"int8": dimensions, "int4": (dimensions + 1) // 2, "int2": 96 if dimensions > 127 else 32}[codec]
    )
    assert [len(blob) for blob in blobs] == [len(matrix) * row for matrix in matrices]
    back = decode(blobs, [4, 0, 9], dimensions, codec)
    original = np.concatenate(matrices)
    similarity = (back * original).sum(axis=1) / np.linalg.norm(back, axis=1)
    assert back.shape == original.shape
    assert similarity.min() > cosine


def test_a_vector_of_zeros_stays_one() -> None:
    assert not decode([encode(np.zeros((1, 6), np.float32), "int4")], [1], 6, "int4").any()
