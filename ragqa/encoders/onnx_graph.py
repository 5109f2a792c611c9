"""The embedded model as an ONNX graph whose weights stay in their own file.

The graph names places in a safetensors file instead of holding numbers, so that it is small and the
weights that were checked are the weights that run.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from ragqa.encoders.embedded.description import EmbeddedModel

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

HEADS = 12
EPSILON = 1e-12
# The operators that ONNX Runtime adds to the standard ones.
RUNTIME = "com.microsoft"
IDS, POSITIONS, LENGTHS, HIDDEN = "ids", "positions", "lengths", "hidden"


def cached_graph(weights: Path, model: EmbeddedModel) -> bytes:
    """Return `graph(weights, model)`, made once per version of this file and of what it is made of.

    Making it takes milliseconds, and importing the library that makes it a quarter of a second.
    """
    made_of = f"{model.weights} {model.layers} {model.hidden} {weights.name}".encode()
    digest = hashlib.sha256(Path(__file__).read_bytes() + made_of).hexdigest()[:16]
    path = user_cache_path("ragqa") / f"embedded-{digest}.onnx"
    try:
        return path.read_bytes()
    except OSError:
        made = graph(weights, model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{id(made)}.partial")
        partial.write_bytes(made)
        partial.replace(path)
    except OSError:
        pass  # a cache that cannot be written costs time and nothing else
    return made


def graph(weights: Path, model: EmbeddedModel) -> bytes:
    """Return BERT's encoder as a serialised ONNX model.

    Its inputs are `ids` (batch, tokens), `positions` (tokens) and `lengths` (batch), its output
    `hidden`, the last hidden states (batch, tokens, hidden). The layers are those of Devlin et al. 2018
    (arXiv:1810.04805), post-layer-norm, exact GELU. `weights` is the model's safetensors file, to be found in
    the folder that the session names for external initialisers.
    """
    from onnx import TensorProto, helper

    builder = _Builder(weights, model.hidden)
    builder.embeddings()
    for layer in range(model.layers):
        builder.layer(f"encoder.layer.{layer}")
    builder.node("Reshape", [builder.flat, "shape"], HIDDEN)
    value = helper.make_tensor_value_info
    made = helper.make_model(
        helper.make_graph(
            builder.nodes,
            "embedded",
            [
                value(IDS, TensorProto.INT64, ["batch", "tokens"]),
                value(POSITIONS, TensorProto.INT64, ["tokens"]),
                value(LENGTHS, TensorProto.INT32, ["batch"]),
            ],
            [value(HIDDEN, TensorProto.FLOAT, ["batch", "tokens", model.hidden])],
            list(builder.tensors.values()),
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(RUNTIME, 1)],
        ir_version=9,
    )
    return bytes(made.SerializeToString())


def also_giving(model: bytes, names: Sequence[str]) -> bytes:
    """Return a serialised ONNX model that gives the outputs of these nodes too.

    What follows a protobuf message is merged into it (https://protobuf.dev/programming-guides/encoding/), so
    that a graph with nothing but outputs behind the model adds them to its own.
    """
    # Fields of onnx.proto: ModelProto.graph 7, GraphProto.output 12, ValueInfoProto.name 1.
    return model + _field(7, b"".join(_field(12, _field(1, name.encode())) for name in names))


def _field(number: int, value: bytes) -> bytes:
    """Return a field of a protobuf message that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def header(file: bytes) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's entries by name, and where its numbers begin.

    The format is that of https://github.com/huggingface/safetensors#format: eight bytes say how long the
    JSON is that follows them.
    """
    (size,) = struct.unpack("<Q", file[:8])
    entries = json.loads(file[8 : 8 + size])
    entries.pop("__metadata__", None)
    return entries, 8 + size


class _Builder:
    """The graph while it grows; `flat` is the state between layers, shape (batch * tokens, dimensions)."""

    def __init__(self, weights: Path, hidden: int) -> None:
        self.file = weights.name
        self.hidden = hidden
        self.entries, self.start = header(weights.read_bytes())
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.flat = ""

    def node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def weight(self, name: str) -> str:
        """Return `name` after adding a tensor that says where in the file its numbers are."""
        from onnx import TensorProto

        entry = self.entries[name]
        first, last = entry["data_offsets"]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=entry["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.file), ("offset", self.start + first), ("length", last - first)):
            tensor.external_data.add(key=key, value=str(value))
        self.tensors[name] = tensor
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.tensors[name] = numpy_helper.from_array(value, name)
        return name

    def linear(self, inputs: str, name: str) -> str:
        weights = [self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("Gemm", [inputs, *weights], f"{name}.out", transB=1)

    def embeddings(self) -> None:
        words = self.node("Gather", [self.weight("embeddings.word_embeddings.weight"), IDS], "words")
        places = self.node(
            "Gather", [self.weight("embeddings.position_embeddings.weight"), POSITIONS], "places"
        )
        # A text is always of the first type: BERT's second is for the second of two.
        kind = self.node(
            "Gather",
            [self.weight("embeddings.token_type_embeddings.weight"), self.constant("first", np.array(0))],
            "kind",
        )
        total = self.node("Add", [words, self.node("Add", [places, kind], "placed")], "embedded")
        norm = [self.weight("embeddings.LayerNorm.weight"), self.weight("embeddings.LayerNorm.bias")]
        state = self.node("LayerNormalization", [total, *norm], "state", axis=-1, epsilon=EPSILON)
        self.node("Shape", [state], "shape")
        self.constant("rows", np.array([-1, self.hidden]))
        self.flat = self.node("Reshape", [state, "rows"], "state.rows")

    def layer(self, name: str) -> None:
        parts = [
            self.node("Reshape", [self.linear(self.flat, f"{name}.attention.self.{part}"), "shape"], out)
            for part, out in ((part, f"{name}.{part}") for part in ("query", "key", "value"))
        ]
        mixed = self.node(
            "MultiHeadAttention", [*parts, "", LENGTHS], f"{name}.mixed", RUNTIME, num_heads=HEADS
        )
        rows = self.node("Reshape", [mixed, "rows"], f"{name}.mixed.rows")
        self.add(self.linear(rows, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = self.node(
            "Gelu", [self.linear(self.flat, f"{name}.intermediate.dense")], f"{name}.gelu", RUNTIME
        )
        self.add(self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def add(self, rows: str, norm: str) -> None:
        """Add `rows` to the state and normalise it."""
        weights = [self.weight(f"{norm}.weight"), self.weight(f"{norm}.bias")]
        inputs = [rows, self.flat, *weights]
        self.flat = self.node("SkipLayerNormalization", inputs, f"{norm}.out", RUNTIME, epsilon=EPSILON)
