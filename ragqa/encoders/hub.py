"""Loading models with sentence-transformers: a sentence where one cannot be, its number format, its hash.

Weights are tensors and never code: safetensors, or PyTorch files that hold nothing else. A model of a
hub is one revision: the one that its name ends with (NAME@COMMIT), else the one that the corpus was
indexed with (`indexed_revision`), else the newest.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragqa.errors import RagqaError, UsageError

if TYPE_CHECKING:
    from torch.nn import Module

    _Model = TypeVar("_Model", bound=Module)


_COMMIT = re.compile(r"[0-9a-f]{40}")


def load(
    kind: Callable[..., _Model], what: str, model: str, device: str, revision: str | None = None
) -> _Model:
    """Return the model that `kind` (a class of sentence-transformers) makes of a folder or hub name.

    A hub's model is taken at `revision`, unless its name says another one; None: the newest. Code that a
    model brings along is never run, neither as Python nor in a pickle. Raises RagqaError, calling it `what`,
    when it is not there or cannot be loaded.
    """
    refuse_pickles()
    quieten()
    name, revision = split_revision(model, revision)
    try:
        return kind(name, device=device, revision=revision, trust_remote_code=False)
    except (MemoryError, RagqaError):
        raise
    except pickle.UnpicklingError as error:
        raise RagqaError(
            f"The {what} {model} cannot be loaded: it holds more than tensors, which could be code. "
            "Checkpoints of safetensors cannot."
        ) from error
    except Exception as error:  # what a broken file makes a library raise is anybody's guess
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RagqaError(f"The {what} {model} cannot be loaded: {reason}") from error


def refuse_pickles() -> None:
    """Raise RagqaError where the environment has torch run the code in pickles, whatever it is told."""
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        raise RagqaError(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, and a file of weights could then run code: unset it."
        )


def split_revision(model: str, revision: str | None = None) -> tuple[str, str | None]:
    """Return the folder or hub name in `model`, and the commit it is held to, None where there is none.

    A hub's model whose name says no commit is held to `revision`.

    Raises UsageError for what stands after an @ and is no whole commit: branches and tags move.
    """
    if Path(model).expanduser().is_dir():
        return str(Path(model).expanduser()), None
    name, at, said = model.rpartition("@")
    if not at:
        return model, revision
    if not _COMMIT.fullmatch(said):
        raise UsageError(f"The model {model!r} must end with a whole commit of 40 hex digits after its @.")
    return name, said


def indexed_revision(connection: sqlite3.Connection, model: str) -> str | None:
    """Return the commit of a hub's model that a corpus was last indexed with, None where it was not."""
    revision = None
    with suppress(sqlite3.Error):
        for (description,) in connection.execute("SELECT description FROM encoders ORDER BY rowid"):
            made = json.loads(description)
            if made["model"] == model and _COMMIT.fullmatch(str(made.get("weights"))):
                revision = str(made["weights"])
    return revision


def quieten() -> None:
    """Keep progress bars and advice of the model libraries off the terminal."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
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


def weights_of(model: Any, name: str, revision: str | None = None) -> str:
    """Return what pins the weights: the hub's commit, or the hash of the files of a local folder.

    `revision` is what `load` was given.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        return str(getattr(config, "_commit_hash", None) or _cached_commit(name, revision) or "unknown")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.safetensors")) or sorted(path.rglob("*.bin")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _cached_commit(model: str, revision: str | None) -> str | None:
    """Return the commit that a hub model was just loaded from: that which its name says, or the cache's."""
    from huggingface_hub import try_to_load_from_cache

    name, revision = split_revision(model, revision)
    if revision is not None:
        return revision
    for file in ("config.json", "modules.json"):
        found = try_to_load_from_cache(name, file)
        if isinstance(found, str):
            # .../snapshots/COMMIT/config.json
            return Path(found).parent.name
    return None
