"""Products of token vectors with a question in 8-bit integers, by onnxruntime: rough, and much faster.

The vectors of a block are unpacked once, to a byte a dimension, and stay so in memory; the question is
rounded to 8 bits when it is asked. What that does to a MaxSim is some thousandths of it: whoever needs the
exact order scores the best again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ragqa.encoders.device import onnx_session
from ragqa.encoders.tokens import Vectors
from ragqa.index.quantise import Quantised

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class RoughProducts:
    """The vectors of a block, ready to be multiplied; `vectors` are of a codec of less than 8 bits."""

    def __init__(self, vectors: Quantised) -> None:
        self._session = _session(vectors)

    def __call__(self, queries: Vectors) -> Vectors:
        """Return about the dot product of every query vector with every vector: (queries, tokens)."""
        products: Vectors = self._session.run(None, {"queries": queries})[0]
        return products


def _session(vectors: Quantised) -> InferenceSession:
    """Return a session for DynamicQuantizeMatMul: one side rounded as it comes, one in integers.

    The operator is that of https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md, with
    a scale for each column. Steps lie halfway between integers, so that they are doubled and their scales
    halved.
    """
    from onnx import TensorProto, helper, numpy_helper

    count, dimensions = len(vectors.scales), vectors.dimensions
    integers = np.ascontiguousarray((2 * vectors.steps()).astype(np.int8).T)
    node = helper.make_node(
        "DynamicQuantizeMatMul", ["queries", "integers", "scales"], ["products"], domain="com.microsoft"
    )
    graph = helper.make_graph(
        [node],
        "products",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["queries", dimensions])],
        [helper.make_tensor_value_info("products", TensorProto.FLOAT, ["queries", count])],
        [
            numpy_helper.from_array(integers, "integers"),
            numpy_helper.from_array(vectors.scales.astype(np.float32) / 2, "scales"),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnx_session(model.SerializeToString())
