"""Token vectors as bytes and back: one scale per vector and a small integer per dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragqa.colbert.encoder import Vectors

Codec = Literal["int8", "int4"]

_LEVELS: dict[Codec, int] = {"int8": 127, "int4": 7}
_SCALE_BYTES = 2


def encode(vectors: Vectors, codec: Codec) -> bytes:
    """Return vectors of shape (tokens, dimensions) as bytes: all scales, then all integers.

    Each vector is scaled so that its largest component is the largest integer, and rounded.
    """
    levels = _LEVELS[codec]
    scales = (np.abs(vectors).max(axis=1, keepdims=True, initial=0.0) / levels).astype(np.float16)
    safe = np.where(scales > 0, scales, 1).astype(np.float32)
    integers = np.clip(np.rint(vectors / safe), -levels, levels).astype(np.int8)
    body = integers.tobytes() if codec == "int8" else _pack(integers).tobytes()
    return bytes(scales.tobytes() + body)


@dataclass(frozen=True, slots=True)
class Quantised:
    """Quantised vectors in memory: `scales` of shape (tokens,), `integers` as the codec stores them."""

    scales: NDArray[np.float16]
    integers: NDArray[Any]
    dimensions: int
    codec: Codec

    def decode(self) -> Vectors:
        """Return the vectors, shape (tokens, dimensions)."""
        if self.codec == "int8":
            vectors = self.integers.astype(np.float32)
        else:
            half = self.integers.shape[1]
            both = np.empty((len(self.integers), 2 * half), dtype=np.float32)
            np.subtract(self.integers & 15, np.float32(8), out=both[:, :half])
            np.subtract(self.integers >> 4, np.float32(8), out=both[:, half:])
            vectors = both[:, : self.dimensions]
        vectors *= self.scales[:, None].astype(np.float32)
        return vectors

    def products(self, queries: Vectors) -> Vectors:
        """Return the dot product of every vector with every query vector, shape (tokens, queries).

        The integers are multiplied as they are; scales and offsets come in afterwards, once a product
        instead of once a dimension.
        """
        if self.codec == "int8":
            products = self.integers.astype(np.float32) @ queries.T
        else:
            half = self.integers.shape[1]
            low, high = queries[:, :half], queries[:, half:]
            high = np.pad(high, ((0, 0), (0, half - high.shape[1])))
            products = (self.integers & 15).astype(np.float32) @ low.T
            products += (self.integers >> 4).astype(np.float32) @ high.T
            products -= 8 * queries.sum(axis=1)
        products *= self.scales[:, None].astype(np.float32)
        return products


def join(blobs: Sequence[bytes], tokens: Sequence[int], dimensions: int, codec: Codec) -> Quantised:
    """Return several `encode` results as one, one after the other."""
    scales = np.concatenate(
        [np.frombuffer(blob, np.float16, count) for blob, count in zip(blobs, tokens, strict=True)]
        or [np.zeros(0, np.float16)]
    )
    body = b"".join(
        memoryview(blob)[_SCALE_BYTES * count :] for blob, count in zip(blobs, tokens, strict=True)
    )
    if codec == "int8":
        return Quantised(scales, np.frombuffer(body, np.int8).reshape(-1, dimensions), dimensions, codec)
    packed = np.frombuffer(body, np.uint8).reshape(-1, (dimensions + 1) // 2)
    return Quantised(scales, packed, dimensions, codec)


def decode(blobs: Sequence[bytes], tokens: Sequence[int], dimensions: int, codec: Codec) -> Vectors:
    """Return the vectors of several `encode` results in one array of shape (sum of tokens, dimensions)."""
    return join(blobs, tokens, dimensions, codec).decode()


def _pack(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Put dimension i and dimension half + i into one byte, low and high nibble, 8 standing for zero."""
    half = (integers.shape[1] + 1) // 2
    nibbles = np.full((len(integers), 2 * half), 8, dtype=np.uint8)
    nibbles[:, : integers.shape[1]] = integers + 8
    packed: NDArray[np.uint8] = nibbles[:, :half] | (nibbles[:, half:] << 4)
    return packed
