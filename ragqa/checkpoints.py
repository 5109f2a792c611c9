"""Loading models with sentence-transformers: a sentence where one cannot be, its number format, its hash."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragqa.errors import RagqaError

if TYPE_CHECKING:
    from torch.nn import Module

    _Model = TypeVar("_Model", bound=Module)


def load(kind: Callable[..., _Model], what: str, model: str, device: str) -> _Model:
    """Return the model that `kind` (a class of sentence-transformers) makes of a folder or hub name.

    Code that a model brings along is never run. Raises RagqaError, calling it `what`, when it is not
    there or cannot be loaded.
    """
    quieten()
    try:
        return kind(model, device=device, trust_remote_code=False)
    except (OSError, ValueError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RagqaError(f"The {what} {model} cannot be loaded: {reason}") from error


def quieten() -> None:
    """Keep progress bars and advice of the model libraries off the terminal."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def pair(model: _Model, device: str, dtype: str) -> tuple[_Model, _Model]:
    """Return the model for questions and the one for documents, each in its number format."""
    documents = in_dtype(model, document_dtype(device, dtype))
    return in_dtype(model, "float32" if dtype == "auto" else dtype), documents


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
