"""The model that comes with ragqa: all-MiniLM-L6-v2, and ragqa's own adapter to it.

Nothing here imports torch: cutting documents needs the tokenizer and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.encoders.embedded.description import EmbeddedModel, Fitted
from ragqa.errors import RagqaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Tensors = Mapping[str, NDArray[Any]]

# The official model.safetensors of sentence-transformers/all-MiniLM-L6-v2.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The adapter beside this file, and what the official weights are once it is merged into them.
ADAPTER_SHA256 = "32561049ca9bbae01c9ffec7eca765edd205fb4673da5872d3ce2d452b59dce8"
MERGED_SHA256 = "7dd9c1112913b5f89c4f972d986ccc073f9ee57918506fe2ce1afa00e6deaa61"
ADAPTER = Path(__file__).parent / "adapter.safetensors"
# Put there when ragqa is built: hatch_build.py beside it.
FOLDER = ADAPTER.parent / "all-MiniLM-L6-v2"
# Names within the adapter: two factors for each weight that changes, and the layer behind the last one.
DOWN, UP, PROJECTION = ".down", ".up", "projection"
# As its model card says.
LICENCE = "Apache-2.0"
# Of a hidden state, and so of a text's one vector.
DIMENSIONS = 384
MAX_TOKENS = 512


# To the token vectors of ZERO_SHOT.
FITTED = Fitted(
    answerability=(-8.86, 12.39, 12.36),
    refuse_below=0.3,
    typical_lead=0.15,
    first_word=2000,
    support=(4.45, 1.82, -3.32, -3.74),
    support_intercept=-2.89,
    unrelated=0.3,
    same=0.9,
)
ZERO_SHOT = EmbeddedModel("all-MiniLM-L6-v2", WEIGHTS_SHA256, DIMENSIONS, fitted=FITTED)
ADAPTED = EmbeddedModel("all-MiniLM-L6-v2 adapted", ADAPTER_SHA256, 256, adapted=True)
# What the name "embedded" stands for.
DEFAULT = ZERO_SHOT
CHECKPOINTS = {"embedded": DEFAULT, "embedded-zero-shot": ZERO_SHOT, "embedded-adapted": ADAPTED}
NAME = DEFAULT.name


def fitted_to(identity: Mapping[str, Any]) -> Fitted | None:
    """Return what was fitted to the vectors of the encoder with this identity; None where nothing was."""
    found = (known for known in (ZERO_SHOT, ADAPTED) if known.weights == identity.get("weights"))
    return next((known.fitted for known in found), None)


def folder() -> Path:
    """Return the folder of the model's files; raises RagqaError when they are not there."""
    if not (FOLDER / "model.safetensors").is_file():
        raise RagqaError(f"The embedded model is not in {FOLDER}: install ragqa anew, by pip.")
    return FOLDER


@cache
def verified_folder() -> Path:
    """Return `folder()` after checking that the weights are the official ones; else raises RagqaError."""
    path = folder() / "model.safetensors"
    found = _sha256(path)
    if found != WEIGHTS_SHA256:
        raise RagqaError(
            f"The weights of the embedded model ({path}) are not the official ones (sha256 {found}): "
            "install ragqa anew, by pip."
        )
    return folder()


def verified_weights(checkpoint: EmbeddedModel) -> Path:
    """Return the safetensors file with a checkpoint's weights, after checking that it is what it should be.

    The adapter is merged into the official weights once, and the result kept in the cache. Raises
    RagqaError when a file that came with a package is not the one that it should be.
    """
    return _merged_weights() if checkpoint.adapted else verified_folder() / "model.safetensors"


@cache
def _merged_weights() -> Path:
    from platformdirs import user_cache_path

    path = user_cache_path("ragqa") / f"embedded-{MERGED_SHA256[:16]}.safetensors"
    with suppress(OSError):
        if _sha256(path) == MERGED_SHA256:
            return path
    merged = merge(verified_folder() / "model.safetensors", adapter())
    if hashlib.sha256(merged).hexdigest() != MERGED_SHA256:
        raise RagqaError("The embedded model's adapter did not give the weights that it should have given.")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, merged)
        return path
    # Where there can be no cache, the file lives as long as the process.
    path = Path(_scratch().name) / path.name
    _write(path, merged)
    return path


@cache
def adapter() -> Tensors:
    """Return the adapter's tensors, float16; raises RagqaError when the file is not what it should be."""
    try:
        found = _sha256(ADAPTER)
    except OSError as error:
        raise RagqaError(f"The adapter of the embedded model cannot be read: {error}") from error
    if found != ADAPTER_SHA256:
        raise RagqaError(
            f"The adapter of the embedded model ({ADAPTER}) is not the one that came with ragqa "
            f"(sha256 {found}): install ragqa anew."
        )
    return dict(_tensors(ADAPTER.read_bytes(), "<f2"))


def projection(checkpoint: EmbeddedModel) -> NDArray[np.float32] | None:
    """Return the layer that makes token vectors of hidden states, shape (dimensions, DIMENSIONS), or None."""
    import numpy as np

    return adapter()[PROJECTION].astype(np.float32) if checkpoint.adapted else None


def merge(weights: Path, factors: Tensors) -> bytes:
    """Return a safetensors file of float32 after adding up @ down to each weight that `factors` name.

    The products are added one rank at a time and element by element, so that every machine rounds alike
    and the result has one hash.
    """
    import numpy as np

    merged = bytearray(weights.read_bytes())
    for name, weight in _tensors(merged, "<f4"):
        if f"{name}{UP}" in factors:
            up, down = (factors[f"{name}{end}"].astype(np.float32) for end in (UP, DOWN))
            change = np.zeros_like(weight)
            for rank in range(len(down)):
                change += up[:, rank, None] * down[rank]
            weight += change
    return bytes(merged)


def header(file: bytes | bytearray) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's entries by name, and where its numbers begin.

    The format is that of https://github.com/huggingface/safetensors#format: eight bytes say how long the
    JSON is that follows them.
    """
    (size,) = struct.unpack("<Q", file[:8])
    entries = json.loads(file[8 : 8 + size])
    entries.pop("__metadata__", None)
    return entries, 8 + size


def _tensors(file: bytes | bytearray, dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the tensors of `dtype` in a safetensors file by name; those of a bytearray can be written to."""
    import numpy as np

    entries, start = header(file)
    kind = {"<f2": "F16", "<f4": "F32"}[dtype]
    for name, entry in entries.items():
        if entry["dtype"] == kind:
            first, last = entry["data_offsets"]
            numbers = np.frombuffer(memoryview(file)[start + first : start + last], dtype)
            yield name, numbers.reshape(entry["shape"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(data)
            file.close()
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ragqa-")


@cache
def tokenizer() -> Tokenizer:
    """Return the model's tokenizer, neither truncating nor padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def identity(document_tokens: int, checkpoint: EmbeddedModel = DEFAULT) -> dict[str, Any]:
    """Return what decides a checkpoint's token vectors, with documents cut at `document_tokens` (0: not)."""
    return {
        "model": checkpoint.name,
        "weights": checkpoint.weights,
        "document_tokens": document_tokens,
        "dimensions": checkpoint.dimensions,
    }


def count_tokens(text: str) -> int:
    """Return the number of word pieces in `text`, special tokens not counted."""
    return len(tokenizer().encode(text, add_special_tokens=False).ids)
