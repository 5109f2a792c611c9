"""Token vectors as bytes and back: one scale per vector and a small integer per dimension."""

from __future__ import annotations

from typing import Literal

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


def decode(blobs: list[bytes], tokens: list[int], dimensions: int, codec: Codec) -> Vectors:
    """Return the vectors of several `encode` results in one array of shape (sum of tokens, dimensions)."""
    scales = np.concatenate(
        [np.frombuffer(blob, np.float16, count) for blob, count in zip(blobs, tokens, strict=True)]
    )
    body = b"".join(
        memoryview(blob)[_SCALE_BYTES * count :] for blob, count in zip(blobs, tokens, strict=True)
    )
    if codec == "int8":
        integers = np.frombuffer(body, np.int8).reshape(-1, dimensions).astype(np.float32)
    else:
        packed = np.frombuffer(body, np.uint8).reshape(len(scales), (dimensions + 1) // 2)
        integers = _unpack(packed, dimensions)
    integers *= scales[:, None].astype(np.float32)
    return integers


def _pack(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Put dimension i and dimension half + i into one byte, low and high nibble, 8 standing for zero."""
    half = (integers.shape[1] + 1) // 2
    nibbles = np.full((len(integers), 2 * half), 8, dtype=np.uint8)
    nibbles[:, : integers.shape[1]] = integers + 8
    packed: NDArray[np.uint8] = nibbles[:, :half] | (nibbles[:, half:] << 4)
    return packed


def _unpack(packed: NDArray[np.uint8], dimensions: int) -> Vectors:
    half = packed.shape[1]
    vectors = np.empty((len(packed), 2 * half), dtype=np.float32)
    np.subtract(packed & 15, np.float32(8), out=vectors[:, :half])
    np.subtract(packed >> 4, np.float32(8), out=vectors[:, half:])
    return vectors[:, :dimensions]
