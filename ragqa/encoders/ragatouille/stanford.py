"""Checkpoints in the layout that Stanford's ColBERT, and so RAGatouille, reads.

A checkpoint that has this layout is used as it is. Any other that sentence-transformers reads, the
embedded one included, is written once in this layout to the cache, with a note of its own markers,
lengths and expansion (`ragqa.json`), which the tokenizers here follow.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import platformdirs

from ragqa.encoders.embedded.catalogue import TOKEN_MODELS, token_identity
from ragqa.encoders.hub import made_by, split_revision
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import RagqaError, missing_package

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

NOTE = "ragqa.json"
METADATA = "artifact.metadata"
# Raised with every change of what an export writes.
VERSION = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """A checkpoint in Stanford's layout at `path`, and how its texts become tokens.

    `query_length` is where a question is cut, `expansion` the length that it is filled up to with [MASK] (0:
    not at all; `least`: that it may be longer than), `attend` whether the model attends to those. `exported`
    tells that it is ours: else the checkpoint's own tokenizers know all of this.
    """

    path: str
    identity: dict[str, Any]
    exported: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    query_length: int = 32
    document_length: int = 180
    expansion: int = 0
    least: bool = False
    attend: bool = False
    skiplist: tuple[int, ...] = ()


def stanford_layout(settings: EncoderSettings, revision: str | None = None) -> Layout:
    """Return the checkpoint that `settings` name in Stanford's layout, exported first where it has another.

    `revision` is as `load` has it.

    Raises RagqaError when it cannot be loaded, or has modules that the layout cannot hold.
    """
    if find_spec("ragatouille") is None:
        raise missing_package("RAGatouille's engine", "ragatouille", "ragqa[plaid]")
    from ragqa.encoders.sentence_transformers import load_multi_vector

    known_model = TOKEN_MODELS.get(settings.model)
    if known_model is not None:
        identity = token_identity(known_model, settings.document_tokens)
        own = f"{known_model.weights[:16]}{known_model.projection[:8]}"
        folder = cache_folder() / f"embedded-{own}-v{VERSION}"
        known = read_layout(folder)
        if known is not None:
            return _with(known, folder, identity)
    model = cast(Any, load_multi_vector(settings.model, "cpu", revision))
    if known_model is None:
        made = made_by(model, settings.model, revision)
        dimensions = model.encode_query("size").shape[1]
        identity = {
            **made,
            "document_tokens": settings.document_tokens,
            "dimensions": dimensions,
        }
        path = _own_layout(*split_revision(settings.model, revision))
        if path is not None:
            return Layout(path, identity)
        digest = hashlib.sha256(f"{settings.model} {made['weights']}".encode()).hexdigest()[:16]
        folder = cache_folder() / f"checkpoint-{digest}-v{VERSION}"
    known = read_layout(folder) or _export(model, folder)
    return _with(known, folder, identity)


def cache_folder() -> Path:
    """Return where exported checkpoints are kept."""
    return Path(platformdirs.user_cache_dir("ragqa", appauthor=False)) / "colbert"


def read_layout(folder: Path) -> Layout | None:
    """Return what an export noted of itself, or None for a folder that is no finished export."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Layout(**{**note, "skiplist": tuple(note["skiplist"])})


def _with(layout: Layout, folder: Path, identity: dict[str, Any]) -> Layout:
    return Layout(**{**asdict(layout), "path": str(folder), "identity": identity})


def _own_layout(model: str, revision: str | None) -> str | None:
    """Return the folder or hub name of a checkpoint that has Stanford's layout already.

    One that is held to a revision is a folder of the hub's cache, where it was just loaded from.
    """
    path = Path(model)
    if path.is_dir():
        return str(path) if (path / METADATA).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = hf_hub_download(model, METADATA, revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None
    return model if revision is None else str(Path(found).parent)


def _export(model: MultiVectorEncoder, folder: Path) -> Layout:
    """Write `model` to `folder`, whole or not at all, and return its layout."""
    from safetensors.torch import save_file

    transformer = cast(Any, model[0])
    backbone = transformer.auto_model
    linear = _projection(model, backbone.config.hidden_size)
    expansion = getattr(transformer, "query_expansion", None) or {}
    least = expansion.get("strategy") == "min"
    skipped: Any = next((ids for m in model if (ids := getattr(m, "_skiplist_ids", None)) is not None), None)
    limit = int(transformer.max_seq_length)
    layout = Layout(
        path="",
        identity={},
        exported=True,
        query_prompt=model.prompts.get("query") or "",
        document_prompt=model.prompts.get("document") or "",
        query_length=int(
            getattr(transformer, "query_length", None) or (not least and expansion.get("length")) or limit
        ),
        document_length=int(getattr(transformer, "document_length", None) or limit),
        expansion=int(expansion.get("length") or 0),
        least=least,
        attend=bool(expansion.get("attend")),
        skiplist=tuple(skipped.tolist()) if skipped is not None else (),
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
    except OSError as error:
        raise RagqaError(f"The cache {folder.parent} cannot be written: {error.strerror}.") from error
    try:
        backbone.config.save_pretrained(made)
        cast(Any, model.tokenizer).save_pretrained(made)
        prefix = backbone.base_model_prefix
        state = {f"{prefix}.{name}": value.contiguous() for name, value in backbone.state_dict().items()}
        save_file({**state, "linear.weight": linear}, made / "model.safetensors", {"format": "pt"})
        metadata = {
            "dim": int(linear.shape[0]),
            "query_maxlen": max(layout.query_length, layout.expansion),
            "doc_maxlen": layout.document_length,
            "mask_punctuation": True,
            "attend_to_mask_tokens": layout.attend,
            "similarity": "cosine",
        }
        (made / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
        (made / NOTE).write_text(json.dumps(asdict(layout)), encoding="utf-8")
        os.replace(made, folder)
    except OSError as error:
        # Another process may have been quicker; what it wrote is the same.
        if read_layout(folder) is None:
            raise RagqaError(f"The checkpoint cannot be written to {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return layout


def _projection(model: MultiVectorEncoder, size: int) -> Any:
    """Return the product of the model's linear layers, shape (dimensions, hidden size)."""
    import torch

    linear = torch.eye(size)
    for module in model:
        layer = getattr(module, "linear", None)
        if layer is None:
            continue
        activation = type(getattr(module, "activation_function", None)).__name__
        if layer.bias is not None or activation not in ("Identity", "NoneType"):
            raise RagqaError(
                "RAGatouille's layout holds one linear layer without bias, and this checkpoint has a "
                f"layer with {'a bias' if layer.bias is not None else activation}: use engine "
                "sentence-transformers, and kind exact."
            )
        weight = layer.weight.detach().float().cpu()
        if getattr(module, "use_residual", False):
            # What comes in is added to what goes out, by a layer of its own where their sizes differ.
            residual = getattr(module, "residual", None)
            weight = weight + (torch.eye(len(weight)) if residual is None else residual.weight.detach().cpu())
        linear = weight @ linear
    return linear.contiguous()


class QuestionTokenizer:
    """Stands in for colbert-ai's QueryTokenizer, with the checkpoint's own prompt and expansion alone."""

    def __init__(self, layout: Layout, tokenizer: Any) -> None:
        self.layout = layout
        self.tok = tokenizer
        # RAGatouille sets `query_maxlen` as it likes; `limit` is the checkpoint's, or the config's.
        self.query_maxlen = self.limit = layout.query_length

    def tensorize(
        self, batch_text: list[str], bsize: int | None = None, context: Any = None, **kwargs: Any
    ) -> Any:
        layout = self.layout
        encoded = self.tok(
            [layout.query_prompt + text for text in batch_text], truncation=True, max_length=self.limit
        )
        longest = max(map(len, encoded["input_ids"]), default=0)
        least = min(layout.expansion, self.limit) if layout.least else self.limit
        filled = max(least, longest) if layout.expansion else longest
        padded = self.tok.pad(encoded, padding="max_length", max_length=filled, return_tensors="pt")
        ids, mask = padded["input_ids"], padded["attention_mask"]
        if layout.expansion:
            empty = mask == 0
            # Behind the least length a shorter question of a batch has nothing.
            empty[:, least:] = False
            ids[empty] = self.tok.mask_token_id
            if layout.attend:
                mask[empty] = 1
        return _batches(ids, mask, bsize) if bsize else (ids, mask)


class DocumentTokenizer:
    """Stands in for colbert-ai's DocTokenizer, with the checkpoint's own prompt as the only marker."""

    def __init__(self, layout: Layout, tokenizer: Any) -> None:
        self.layout = layout
        self.tok = tokenizer
        self.doc_maxlen = self.limit = layout.document_length

    def tensorize(self, batch_text: list[str], bsize: int | None = None) -> Any:
        encoded = self.tok(
            [self.layout.document_prompt + text for text in batch_text],
            padding="longest",
            truncation=True,
            max_length=min(self.doc_maxlen, self.limit),
            return_tensors="pt",
        )
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        if not bsize:
            return ids, mask
        order = mask.sum(-1).sort().indices
        return _batches(ids[order], mask[order], bsize), order.sort().indices


def _batches(ids: Any, mask: Any, size: int) -> list[tuple[Any, Any]]:
    """Cut into batches, each without the padding that only longer batches need."""
    batches = []
    for start in range(0, len(ids), size):
        part_ids, part_mask = ids[start : start + size], mask[start : start + size]
        batches.append((part_ids, part_mask))
    return batches
