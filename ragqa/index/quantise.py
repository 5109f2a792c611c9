"""Token vectors as bytes and back: one scale per vector and a small integer per dimension."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ragqa.encoders.device import cores
from ragqa.encoders.tokens import Vectors

Codec = Literal["int8", "int4", "int2"]

_BITS: dict[Codec, int] = {"int8": 8, "int4": 4, "int2": 2}
# The step between two integers, in root mean squares of the vector's components, at which a uniform
# quantiser loses least of a normal variable (Max 1960, IRE Trans. Inf. Theory 6, table II). 8 bits lose
# so little that the largest component may be the largest integer.
_STEPS = {4: 0.3352, 2: 0.9957}
_SCALE_BYTES = 2
# Vectors that are unpacked at a time, and multiplied at a time: BLAS multiplies so few on the thread that
# asks, and other threads of its own would wait for these.
BLOCK, FEW = 1024, 32
# From so many blocks on they are multiplied on several threads.
SIDE_BY_SIDE = 8


def encode(vectors: Vectors, codec: Codec) -> bytes:
    """Return vectors of shape (tokens, dimensions) as bytes: all scales, then all integers.

    A component is (integer - middle) * scale, where the integers are 0 to 2^bits - 1 and `middle` lies
    between the two in their middle. Integers are those of the nearest step. The scale is such that
    the vector keeps its length: the least squares one makes vectors that lose much shorter than others,
    the one that keeps the product with the vector itself makes them longer, and both cost quality.
    """
    bits, middle = _BITS[codec], _middle(codec)
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0) / middle
    values = _nearest(vectors, largest, middle)
    if bits in _STEPS:
        # Where one component is far larger than the others, the step that fits the others cuts it off.
        even = _nearest(vectors, _STEPS[bits] * np.sqrt((vectors**2).mean(axis=1, keepdims=True)), middle)
        values = np.where(_closeness(vectors, even) > _closeness(vectors, values), even, values)
    # No step is 0, so that neither is the length.
    scales = np.linalg.norm(vectors, axis=1) / np.linalg.norm(values, axis=1)
    integers = (values + middle).astype(np.uint8)
    return bytes(scales.astype(np.float16).tobytes() + _pack(integers, bits).tobytes())


@dataclass(frozen=True, slots=True)
class Quantised:
    """Quantised vectors in memory: `scales` of shape (tokens,), `integers` as the codec stores them."""

    scales: NDArray[np.float16]
    integers: NDArray[np.uint8]
    dimensions: int
    codec: Codec

    def decode(self) -> Vectors:
        """Return the vectors, shape (tokens, dimensions)."""
        vectors: Vectors = self.steps() * self.scales[:, None].astype(np.float32)
        return vectors

    def products(self, queries: Vectors) -> Vectors:
        """Return the dot product of every vector with every query vector, shape (tokens, queries).

        Steps are multiplied as they are; scales come in afterwards, once a product instead of once a
        dimension. Vectors are taken in blocks whose steps stay in the processor's cache.
        """
        products = np.empty((len(self.integers), len(queries)), np.float32)
        columns = np.ascontiguousarray(queries.T)

        def multiply(start: int) -> None:
            rows = slice(start, start + BLOCK)
            part = Quantised(self.scales[rows], self.integers[rows], self.dimensions, self.codec)
            steps, found = part.steps(), products[rows]
            whole = len(steps) - len(steps) % FEW
            stack = (whole // FEW, FEW)
            stacked = found[:whole].reshape(*stack, len(queries))
            np.matmul(steps[:whole].reshape(*stack, self.dimensions), columns, out=stacked)
            np.matmul(steps[whole:], columns, out=found[whole:])
            found *= part.scales[:, None].astype(np.float32)

        starts = range(0, len(products), BLOCK)
        if len(starts) < SIDE_BY_SIDE:
            for start in starts:
                multiply(start)
        else:
            with ThreadPoolExecutor(cores()) as threads:
                list(threads.map(multiply, starts))
        return products

    def steps(self) -> Vectors:
        """Return the vectors before they are scaled, shape (tokens, dimensions)."""
        table = _table(_BITS[self.codec])
        # Looked up byte by byte, as one number of as many bytes as the steps in it have.
        looked_up = np.take(table, self.integers, mode="clip")
        steps: Vectors = looked_up.view(np.float32)[:, : self.dimensions]
        return steps


def join(blobs: Sequence[bytes], tokens: Sequence[int], dimensions: int, codec: Codec) -> Quantised:
    """Return several `encode` results as one, one after the other."""
    pairs = list(zip(blobs, tokens, strict=True))
    scales = b"".join(memoryview(blob)[: _SCALE_BYTES * count] for blob, count in pairs)
    body = b"".join(memoryview(blob)[_SCALE_BYTES * count :] for blob, count in pairs)
    integers = np.frombuffer(body, np.uint8).reshape(-1, _width(dimensions, _BITS[codec]))
    return Quantised(np.frombuffer(scales, np.float16), integers, dimensions, codec)


def decode(blobs: Sequence[bytes], tokens: Sequence[int], dimensions: int, codec: Codec) -> Vectors:
    """Return the vectors of several `encode` results in one array of shape (sum of tokens, dimensions)."""
    return join(blobs, tokens, dimensions, codec).decode()


def bytes_per_vector(dimensions: int, codec: Codec) -> int:
    """Return what one vector takes in an `encode` result."""
    return _SCALE_BYTES + _width(dimensions, _BITS[codec])


def _nearest(vectors: Vectors, steps: Vectors, middle: float) -> Vectors:
    """Return each component in steps, as the nearest of -middle, 1 - middle, ..., middle."""
    safe = np.where(steps > 0, steps, 1)
    values: Vectors = np.clip(np.floor(vectors / safe) + np.float32(0.5), -middle, middle)
    return values


def _closeness(vectors: Vectors, values: Vectors) -> Vectors:
    """Return a number per row that grows with the cosine of the two."""
    products = (vectors * values).sum(axis=1, keepdims=True)
    closeness: Vectors = products / np.sqrt((values**2).sum(axis=1, keepdims=True))
    return closeness


def _middle(codec: Codec) -> float:
    middle: float = (2 ** _BITS[codec] - 1) / 2
    return middle


def _width(dimensions: int, bits: int) -> int:
    """Return the bytes of a vector's integers."""
    return -(-dimensions * bits // 8)


@cache
def _table(bits: int) -> NDArray[Any]:
    """Return what each of 256 bytes stands for: its 1, 2 or 4 steps, seen as one number."""
    shifts = np.arange(0, 8, bits)
    integers = (np.arange(256)[:, None] >> shifts) & (2**bits - 1)
    steps = (integers - (2**bits - 1) / 2).astype(np.float32)
    table: NDArray[Any] = steps.view({8: np.float32, 4: np.complex64, 2: np.complex128}[bits])[:, 0].copy()
    return table


def _pack(integers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Put as many neighbouring dimensions as fit into each byte, the first lowest."""
    width = _width(integers.shape[1], bits)
    padded = np.zeros((len(integers), width * (8 // bits)), dtype=np.uint8)
    padded[:, : integers.shape[1]] = integers
    packed = np.zeros((len(integers), width), dtype=np.uint8)
    for part in range(8 // bits):
        packed |= padded[:, part :: 8 // bits] << (part * bits)
    return packed
