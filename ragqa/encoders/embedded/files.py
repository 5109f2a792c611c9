"""Where the files of the embedded models are, and that each is the one that it should be."""

from __future__ import annotations

import hashlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.errors import RagqaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Put there when ragqa is built: hatch_build.py beside it.
FOLDER = Path(__file__).parent / "weights"
# The layer behind the states of answerai-colbert-small-v1, learned anew by tests/workshop/projection.py.
PROJECTION = Path(__file__).parent / "projection.npy"
# What the embedded cross-encoder's states say of an answer's place, learned by tests/workshop/reading.py.
EVIDENCE = Path(__file__).parent / "evidence.npy"


def weights_folder() -> Path:
    """Return the folder of the models' files; raises RagqaError when they are not there."""
    if not FOLDER.is_dir():
        raise RagqaError(f"The embedded models are not in {FOLDER}: install ragqa anew, by pip.")
    return FOLDER


@cache
def verified_weights(model: EmbeddedModel) -> Path:
    """Return the file with a model's weights, after checking that it is the one that it should be.

    Raises RagqaError when it is not there or another.
    """
    path = weights_folder() / model.file
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, _weights_of(model), error) from error
    _compare(path, _weights_of(model), found, model.weights)
    return path


def verified_bytes(model: EmbeddedModel) -> bytes:
    """Return what is in the file with a model's weights, read once and checked as `verified_weights` does."""
    return _read(weights_folder() / model.file, _weights_of(model), model.weights)


@cache
def projection(model: EmbeddedModel) -> NDArray[np.float32] | None:
    """Return the layer that makes token vectors of hidden states, shape (hidden, tokens), or None.

    Raises RagqaError when its file is not the one that it should be.
    """
    import numpy as np

    if not model.projection:
        return None
    data = _read(PROJECTION, f"The projection of the embedded model {model.name}", model.projection)
    layer: NDArray[np.float32] = np.load(BytesIO(data)).astype(np.float32)
    return layer


@cache
def evidence(model: EmbeddedModel) -> NDArray[np.float32]:
    """Return the weights of a token's states, one after the other, and of the pair's score: what is evidence.

    Raises RagqaError when their file is not the one that it should be.
    """
    import numpy as np

    data = _read(EVIDENCE, f"What was learned for the embedded model {model.name}", model.evidence)
    weights: NDArray[np.float32] = np.load(BytesIO(data)).astype(np.float32)
    return weights


def _read(path: Path, what: str, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, what, error) from error
    _compare(path, what, hashlib.sha256(data).hexdigest(), sha256)
    return data


def _weights_of(model: EmbeddedModel) -> str:
    return f"The weights of the embedded model {model.name}"


def _unreadable(path: Path, what: str, error: OSError) -> RagqaError:
    return RagqaError(f"{what} ({path}) cannot be read: {error.strerror}. Install ragqa anew.")


def _compare(path: Path, what: str, found: str, sha256: str) -> None:
    if found != sha256:
        raise RagqaError(
            f"{what} ({path}) are not the ones that came with ragqa (sha256 {found}): install ragqa anew."
        )
