"""Embedded models whose weights are 8-bit integers, for torch: as folders of floating point numbers.

Written once to the cache, in the layout that transformers reads. A number is its integer less the zero point,
times the scale, which are in the same file (https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.encoders.embedded.files import verified_bytes, verified_weights, weights_folder
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS, tokenizer
from ragqa.encoders.onnx_graph import EPSILON, HEADS
from ragqa.errors import RagqaError, require

if TYPE_CHECKING:
    from onnx import ModelProto

# Raised with every change of what is written.
VERSION = 1
VOCABULARY = "all-MiniLM-L6-v2"
QUANTISED, SCALE, ZERO_POINT = "_quantized", "_scale", "_zero_point"


def checkpoint_folder(model: EmbeddedModel) -> Path:
    """Return the folder of an embedded model that transformers can load; RagqaError where there can be none.

    That is the one that came along, where its weights are floating point numbers already.
    """
    if not model.packed:
        return verified_weights(model).parent
    folder = Path(platformdirs.user_cache_dir("ragqa", appauthor=False)) / (
        f"embedded-{model.weights[:16]}-v{VERSION}"
    )
    if not (folder / "model.safetensors").is_file():
        try:
            _write(model, folder)
        except OSError as error:
            # Another process may have been quicker; what it wrote is the same.
            if not (folder / "model.safetensors").is_file():
                raise RagqaError(
                    f"The embedded model {model.name} cannot be written to {folder}: {error.strerror}."
                ) from error
    return folder


def tensors(model: EmbeddedModel) -> dict[str, NDArray[np.float32]]:
    """Return a model's weights in float32, by their names in transformers' Bert classes."""
    import onnx
    from onnx import numpy_helper

    loaded = onnx.load_model_from_string(verified_bytes(model))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in loaded.graph.initializer}
    found = {
        name: array
        for name, array in stored.items()
        if array.dtype == np.float32 and not name.endswith(SCALE)
    }
    for name, stem in _matrices(loaded).items():
        matrix = (stored[stem + QUANTISED].astype(np.float32) - stored[stem + ZERO_POINT]) * stored[
            stem + SCALE
        ]
        # A graph multiplies from the other side than transformers' layers do, but for looking up rows.
        found[name] = np.ascontiguousarray(matrix if "embeddings" in name else matrix.T, np.float32)
    return found


def _matrices(loaded: ModelProto) -> dict[str, str]:
    """Return where each quantised matrix is in the file, by its name in transformers."""
    found = {}
    for node in loaded.graph.node:
        if node.op_type == "MatMulInteger":
            # "/encoder/layer.0/attention/self/query/MatMul_quant" multiplies with that layer's weight.
            name = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            found[f"{name}.weight"] = node.input[1].removesuffix(QUANTISED)
        elif node.op_type == "Gather" and node.input[0].endswith(QUANTISED):
            stem = node.input[0].removesuffix(QUANTISED)
            found[stem] = stem
    return found


def _write(model: EmbeddedModel, folder: Path) -> None:
    """Write `model` to `folder`, whole or not at all."""
    require("safetensors", f"The embedded model {model.name} on torch", "ragqa[torch]")
    from safetensors.numpy import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        save_file(tensors(model), made / "model.safetensors", {"format": "pt"})
        (made / "config.json").write_text(json.dumps(_config(model)), encoding="utf-8")
        vocabulary = weights_folder() / VOCABULARY
        for name in ("vocab.txt", "special_tokens_map.json", "tokenizer_config.json"):
            shutil.copy(vocabulary / name, made / name)
        entries = json.loads((vocabulary / "tokenizer.json").read_text(encoding="utf-8"))
        entries.update(truncation=None, padding=None)
        entries["added_tokens"] = sorted(
            [*_markers(model), *entries["added_tokens"]], key=lambda token: int(token["id"])
        )
        (made / "tokenizer.json").write_text(json.dumps(entries), encoding="utf-8")
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def marker_texts(model: EmbeddedModel) -> tuple[str, str]:
    """Return what stands in front of a question and of a document for a tokenizer to make the markers of."""
    if model.markers is None:
        return "", ""
    question, document = (tokenizer().id_to_token(number) for number in model.markers)
    return f"{question} ", f"{document} "


def _markers(model: EmbeddedModel) -> list[dict[str, Any]]:
    """Return the entries of a tokenizer's file that keep markers in one piece."""
    return [
        {
            "id": number,
            "content": tokenizer().id_to_token(number),
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number in model.markers or ()
    ]


def _config(model: EmbeddedModel) -> dict[str, Any]:
    return {
        "architectures": ["BertForSequenceClassification" if model.pairs else "BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": model.hidden,
        "intermediate_size": 4 * model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": HEADS,
        "layer_norm_eps": EPSILON,
        "max_position_embeddings": MAX_TOKENS,
        "type_vocab_size": 2,
        "vocab_size": tokenizer().get_vocab_size(),
        "pad_token_id": 0,
        **({"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}} if model.pairs else {}),
    }
