"""All dense vectors of a corpus in memory, and the nearest of them to a question."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragqa.encoders.device import cores, onnx_session
from ragqa.encoders.tokens import Vectors
from ragqa.index.best import best

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Rows that numpy multiplies at a time: few enough that their float32 form stays in the processor's cache.
BLOCK = 2048
# From how many rows on a second question is worth packing them for onnxruntime (0.3 s for 100,000).
PACKED_FROM = 20_000
# Rows that are packed together: ONNX's files end at 2 GiB.
PACK = 262_144
# Components that share a scale; onnxruntime rounds the question to 8 bits in pieces of this length.
PIECE = 128
# Of the packed rows, the best so many times k are multiplied again in full precision.
AGAIN = 4


class DenseMatrix:
    """All stored vectors: `rows` of shape (passages, dimensions), int8 or float32.

    A row times its scale is the vector; `rowids` are the passages' keys.
    """

    def __init__(self, rowids: list[int], rows: NDArray[Any], scales: NDArray[np.float32]) -> None:
        self.rowids = rowids
        self.rows = rows
        self.scales = scales
        self._packed: list[InferenceSession] | None = None
        self._asked = False
        self._among: tuple[Set[int], NDArray[np.intp]] | None = None

    def search(
        self, queries: Vectors, k: int, allowed: Set[int] | None = None
    ) -> list[tuple[list[int], list[float]]]:
        """Return, per query vector, the places and cosines of the `k` nearest rows, nearest first.

        With `allowed`, only rows of passages with these keys are looked at.
        int8 rows are multiplied by onnxruntime once there are many and more than one question; the
        scores it gives are off by some thousandths, so the best are scored again exactly.
        """
        if self.rows.dtype != np.int8 or len(self.rows) < PACKED_FROM or not self._asked:
            self._asked = True
            return [self.nearest(scores, k, allowed) for scores in self.products(queries).T]
        found = []
        for query, scores in zip(queries, self._rough_products(queries), strict=True):
            places = np.array(sorted(self.nearest(scores, AGAIN * k, allowed)[0]), np.intp)
            exact = (self.rows[places].astype(np.float32) @ query) * self.scales[places]
            nearest = best(exact, k)
            found.append((places[nearest].tolist(), exact[nearest].tolist()))
        return found

    def nearest(
        self, scores: Vectors, k: int, allowed: Set[int] | None = None
    ) -> tuple[list[int], list[float]]:
        """Return the places of the `k` best of these scores, one per row, and those; `allowed` as above."""
        if allowed is None:
            places = best(scores, k)
        else:
            among = self._places(allowed)
            places = among[best(scores[among], k)].tolist()
        return places, scores[places].tolist()

    def _places(self, allowed: Set[int]) -> NDArray[np.intp]:
        """Return where the passages with these keys are; kept, since they are asked for again."""
        if self._among is None or self._among[0] is not allowed:
            there = (rowid in allowed for rowid in self.rowids)
            self._among = allowed, np.flatnonzero(np.fromiter(there, bool, len(self.rowids)))
        return self._among[1]

    def products(self, queries: Vectors) -> Vectors:
        """Return the cosine of every passage with every query, shape (passages, queries)."""
        result = np.empty((len(self.rowids), len(queries)), np.float32)
        for start in range(0, len(self.rowids), BLOCK):
            block = self.rows[start : start + BLOCK].astype(np.float32, copy=False)
            np.matmul(block, queries.T, out=result[start : start + BLOCK])
        result *= self.scales[:, None]
        return result

    def vectors(self, places: Sequence[int]) -> Vectors:
        """Return the vectors at these places, L2-normalised."""
        rows = self.rows[list(places)].astype(np.float32)
        unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit

    def _rough_products(self, queries: Vectors) -> Vectors:
        """Return about what `products` does, transposed, with the question in 8 bits as well."""
        if self._packed is None:
            starts = range(0, len(self.rows), PACK)
            self._packed = [
                _pack(self.rows[start : start + PACK], self.scales[start : start + PACK]) for start in starts
            ]
        parts = [session.run(None, {"queries": queries})[0] for session in self._packed]
        products: Vectors = np.concatenate(parts, axis=1)
        return products


def _pack(rows: NDArray[np.int8], scales: NDArray[np.float32]) -> InferenceSession:
    """Return a session that multiplies queries with `rows`: the matrix product of quantised language models.

    The operator is MatMulNBits of https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md;
    accuracy level 4 means 8-bit products.
    """
    from onnx import TensorProto, helper, numpy_helper

    count, dimensions = rows.shape
    pieces = -(-dimensions // PIECE)
    # The operator counts from 128, where 0 is, and wants whole pieces.
    integers = np.full((count, pieces * PIECE), 128, np.uint8)
    np.add(rows, 128, out=integers[:, :dimensions], dtype=np.int16, casting="unsafe")
    node = helper.make_node(
        "MatMulNBits",
        ["queries", "rows", "scales"],
        ["products"],
        domain="com.microsoft",
        K=dimensions,
        N=count,
        bits=8,
        block_size=PIECE,
        accuracy_level=4,
    )
    graph = helper.make_graph(
        [node],
        "nearest",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["queries", dimensions])],
        [helper.make_tensor_value_info("products", TensorProto.FLOAT, ["queries", count])],
        [
            numpy_helper.from_array(integers.reshape(count, pieces, PIECE), "rows"),
            numpy_helper.from_array(np.repeat(scales[:, None], pieces, axis=1), "scales"),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnx_session(model.SerializeToString(), cores())
