"""Token vectors as bytes and back: one scale per vector and a small integer per dimension."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragqa.colbert.encoder import Vectors

Codec = Literal["int8", "int4"]

_LEVELS: dict[Codec, int] = {"int8": 127, "int4": 7}
_SCALE_BYTES = 2


def row_bytes(dimensions: int, codec: Codec) -> int:
    """Return how many bytes one vector takes: a float16 scale and the integers."""
    return _SCALE_BYTES + (dimensions if codec == "int8" else (dimensions + 1) // 2)


def encode(vectors: Vectors, codec: Codec) -> bytes:
    """Return vectors of shape (tokens, dimensions) as bytes: all scales, then all integers.

    Each vector is scaled so that its largest component is the largest integer, and rounded.
    """
    levels = _LEVELS[codec]
    scales = (np.abs(vectors).max(axis=1, keepdims=True, initial=0.0) / levels).astype(np.float16)
    safe = np.where(scales > 0, scales, 1).astype(np.float32)
    integers = np.clip(np.rint(vectors / safe), -levels, levels).astype(np.int8)
    return scales.tobytes() + (integers if codec == "int8" else _pack(integers)).tobytes()


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
        integers = _unpack(np.frombuffer(body, np.uint8).reshape(len(scales), -1), dimensions)
    integers *= scales[:, None].astype(np.float32)
    return integers


def _pack(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    nibbles = (integers + 8).astype(np.uint8)
    if nibbles.shape[1] % 2:
        nibbles = np.pad(nibbles, ((0, 0), (0, 1)))
    return np.ascontiguousarray(nibbles[:, 0::2] | (nibbles[:, 1::2] << 4))


# Every byte's two nibbles as floats, low one first: one table look-up unpacks two dimensions.
_NIBBLES = np.stack([np.arange(256) % 16, np.arange(256) // 16], axis=1).astype(np.float32) - 8


def _unpack(packed: NDArray[np.uint8], dimensions: int) -> Vectors:
    return _NIBBLES[packed].reshape(len(packed), -1)[:, :dimensions].copy()
