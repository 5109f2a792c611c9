"""The sentence-transformers engine: reads native, PyLate and Stanford checkpoints, and the embedded one."""

from __future__ import annotations

import copy
import hashlib
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ragqa import embedded
from ragqa.colbert.encoder import EncoderSettings, Spans, Vectors
from ragqa.errors import RagqaError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from torch.nn import Module

    _Model = TypeVar("_Model", bound=Module)

BATCH = 32


class SentenceTransformersEncoder:
    """A TokenEncoder on `sentence_transformers.MultiVectorEncoder`.

    `device` and `dtype` are torch's names, `dtype` or "auto". Raises RagqaError when the model is
    not there or cannot be loaded.
    """

    def __init__(self, settings: EncoderSettings, device: str, dtype: str = "auto") -> None:
        quieten()
        is_embedded = settings.model == "embedded"
        self._queries = load_embedded(device) if is_embedded else load_named(settings.model, device)
        self._set_lengths(settings)
        self._documents = in_dtype(self._queries, document_dtype(device, dtype))
        self._queries = in_dtype(self._queries, "float32" if dtype == "auto" else dtype)
        self.dimensions = int(
            embedded.DIMENSIONS if is_embedded else self.encode_queries(["size"])[0].shape[1]
        )
        self.identity = embedded.identity(settings.document_tokens)
        if not is_embedded:
            weights = weights_of(self._queries, settings.model)
            self.identity.update(model=settings.model, weights=weights, dimensions=self.dimensions)

    def encode_queries(self, texts: Sequence[str]) -> list[Vectors]:
        vectors = self._queries.encode_query(
            list(texts), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return [np.asarray(matrix, dtype=np.float32) for matrix in vectors]

    def encode_documents(self, texts: Sequence[str]) -> list[Vectors]:
        vectors = self._documents.encode_document(
            list(texts), batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return [np.asarray(matrix, dtype=np.float32) for matrix in vectors]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._pooled(_features(self._queries.encode_query, texts))

    def encode_both(self, texts: Sequence[str]) -> tuple[list[Vectors], Vectors]:
        features = _features(self._documents.encode_document, texts)
        tokens = [item["token_embeddings"][item["attention_mask"].bool()].float().cpu() for item in features]
        return [matrix.numpy() for matrix in tokens], self._pooled(features)

    def _pooled(self, features: Sequence[dict[str, Any]]) -> Vectors:
        """Return the normalised means that the embedded model's Pooling module left among its features."""
        if not features:
            return np.zeros((0, self.dimensions), np.float32)
        rows = np.stack([item["sentence_embedding"].float().cpu().numpy() for item in features])
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def document_spans(self, texts: Sequence[str]) -> list[Spans]:
        prompt = self._queries.prompts.get("document") or ""
        encoded = cast(Any, self._queries.tokenizer)(
            [prompt + text for text in texts],
            truncation=True,
            max_length=self._limit("document_length"),
            return_offsets_mapping=True,
        )
        skipped = self._skiplist()
        result = []
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            spans = np.asarray(offsets, dtype=np.int32).reshape(-1, 2)
            spans = np.maximum(spans - len(prompt), 0)
            result.append(spans[~np.isin(ids, skipped)])
        return result

    def _set_lengths(self, settings: EncoderSettings) -> None:
        transformer = cast(Any, self._queries[0])
        if settings.document_tokens:
            transformer.document_length = settings.document_tokens
        if settings.query_tokens:
            transformer.query_length = settings.query_tokens

    def _limit(self, name: str) -> int:
        transformer = cast(Any, self._queries[0])
        return int(getattr(transformer, name, None) or transformer.max_seq_length)

    def _skiplist(self) -> list[int]:
        for module in self._queries:
            ids = getattr(module, "_skiplist_ids", None)
            if ids is not None:
                return cast(list[int], ids.tolist())
        return []


def _features(encode: Callable[..., Any], texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the model's modules left of each text, before any of it is thrown away."""
    features: list[dict[str, Any]] = encode(
        list(texts), batch_size=BATCH, output_value=None, show_progress_bar=False
    )
    return features


def quieten() -> None:
    """Keep progress bars and advice of the model libraries off the terminal."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_embedded(device: str) -> MultiVectorEncoder:
    """Return the embedded model as a multi-vector encoder that gives the mean of its vectors as well."""
    # Built from modules: loading the folder by name would add a projection layer with random weights.
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(
        str(embedded.verified_folder()),
        max_seq_length=embedded.MAX_TOKENS,
        model_kwargs={"use_safetensors": True, "local_files_only": True},
    )
    return MultiVectorEncoder(
        modules=[
            transformer,
            Pooling(embedded.DIMENSIONS, pooling_mode="mean"),
            MultiVectorMask(skiplist_words=list(string.punctuation)),
            Normalize(module_input_name="token_embeddings"),
        ],
        device=device,
    )


def load_named(model: str, device: str) -> MultiVectorEncoder:
    from sentence_transformers import MultiVectorEncoder

    try:
        return MultiVectorEncoder(model, device=device, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RagqaError(f"The ColBERT checkpoint {model} cannot be loaded: {reason}") from error


def document_dtype(device: str, dtype: str) -> str:
    """Return the number format for documents: `dtype`, or for "auto" the fastest that loses nothing.

    That is bfloat16 where the device multiplies it natively, and float32 elsewhere. Decided by what
    the device says of itself and not by a race, so that one machine always makes the same vectors.
    """
    import torch

    if dtype != "auto":
        return dtype
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    capabilities: dict[str, Any] = dict(getattr(torch.cpu, "get_capabilities", dict)())
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bfloat16" if device == "cpu" and native else "float32"


def in_dtype(model: _Model, dtype: str) -> _Model:
    """Return `model` itself where it has that number format, else a copy in it."""
    import torch

    wanted = getattr(torch, dtype)
    if next(model.parameters()).dtype == wanted:
        return model
    return copy.deepcopy(model).to(wanted)


def weights_of(model: Any, name: str) -> str:
    """Return what pins the weights: the hub's commit, or the hash of the files of a local folder."""
    path = Path(name).expanduser()
    if not path.is_dir():
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        return str(getattr(config, "_commit_hash", None) or "unknown")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.safetensors")) or sorted(path.rglob("*.bin")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
