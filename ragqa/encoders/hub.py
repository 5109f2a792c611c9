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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragqa.errors import RagqaError, UsageError

if TYPE_CHECKING:
    from torch.nn import Module

    _Model = TypeVar("_Model", bound=Module)


_COMMIT = re.compile(r"[0-9a-f]{40}")
# What loading a checkpoint reads: weights, configurations, vocabularies.
PICKLED = frozenset({".bin", ".pt", ".pth"})
READ = PICKLED | {".safetensors", ".json", ".metadata", ".txt", ".model", ".tiktoken", ".jinja"}
# What training leaves beside them.
NOT_READ = frozenset(
    {
        "trainer_state.json",
        "training_args.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training.json",
    }
)


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
        if "trust_remote_code" in str(error):
            raise RagqaError(
                f"The {what} {model} needs Python code that comes with it, and ragqa runs no model's code: "
                "take another one."
            ) from error
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


def made_by(model: Any, name: str, revision: str | None = None) -> dict[str, Any]:
    """Return what an index notes of a model that was loaded: `model`, `weights`, and a folder's `files`.

    `weights` is what pins all that decides its vectors: the hub's commit, or the hash of the hashes of all
    files of a local folder that loading reads, which `files` has by name, so that what changed can be named.
    `revision` is what `load` was given.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        commit = getattr(config, "_commit_hash", None) or _cached_commit(name, revision) or "unknown"
        return {"model": name, "weights": str(commit)}
    files = {file.relative_to(path).as_posix(): _sha256(file) for file in files_read(path)}
    whole = hashlib.sha256("".join(f"{file} {sha256}\n" for file, sha256 in files.items()).encode())
    return {
        "model": name,
        "weights": whole.hexdigest(),
        "files": {file: sha256[:16] for file, sha256 in files.items()},
    }


def files_read(folder: Path) -> list[Path]:
    """Return the files of a checkpoint that loading it may read, in the order of their names.

    Weights, configurations of modules, prompts, lengths, vocabularies: whatever else is in the folder (a
    model card, what training left of its states) decides no vector.
    """
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in READ
        and file.name not in NOT_READ
        and not any(part.startswith(("checkpoint-", ".")) for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    # Of weights in two formats the safe one is loaded.
    safe = any(file.suffix == ".safetensors" for file in files)
    return [file for file in files if not (safe and file.suffix in PICKLED)]


def changed_files(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the files by which two notes of the same folder's model differ."""
    one, other = before.get("files"), now.get("files")
    if before.get("model") != now.get("model") or not one or not other:
        return []
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
