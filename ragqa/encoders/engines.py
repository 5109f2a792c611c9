"""The engines behind the encoder contract, by name, and the one place that loads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ragqa.encoders.device import Compute, has_bfloat16, has_torch, may_have_accelerator
from ragqa.encoders.embedded.catalogue import TOKEN_MODELS
from ragqa.encoders.embedded.description import EmbeddedModel
from ragqa.encoders.tokens import EncoderSettings, PoolingEncoder, TokenEncoder


def _sentence_transformers(
    settings: EncoderSettings, compute: Compute, revision: str | None = None
) -> TokenEncoder:
    """Return the engine on its device; on the CPU the embedded models run without torch."""

    def engine() -> PoolingEncoder:
        from ragqa.encoders.sentence_transformers import SentenceTransformersEncoder

        return SentenceTransformersEncoder(settings, compute.torch_device(), compute.dtype, revision)

    model = TOKEN_MODELS.get(settings.model)
    if model is not None and is_lean(compute):
        from ragqa.encoders.onnx_engine import lean_encoder

        return lean_encoder(settings, engine if _torch_is_faster(model, compute) else None)
    return engine()


def is_lean(compute: Compute) -> bool:
    """Tell whether embedded models run without torch: on the CPU, in the number format that they came in."""
    return compute.device in ("auto", "cpu") and compute.dtype in ("auto", "float32")


def _torch_is_faster(model: EmbeddedModel, compute: Compute) -> bool:
    """Tell whether torch is here and may encode many documents faster than onnxruntime on the CPU does."""
    if not has_torch():
        return False
    accelerator = compute.device == "auto" and may_have_accelerator()
    return accelerator or (not model.packed and compute.dtype == "auto" and has_bfloat16())


def _ragatouille(settings: EncoderSettings, compute: Compute, revision: str | None = None) -> TokenEncoder:
    from ragqa.encoders.ragatouille.encoder import RagatouilleEncoder

    return RagatouilleEncoder(settings, compute, revision)


ENGINES: dict[str, Callable[..., TokenEncoder]] = {
    "sentence-transformers": _sentence_transformers,
    "ragatouille": _ragatouille,
}


def load_encoder(settings: EncoderSettings, compute: Compute, revision: str | None = None) -> TokenEncoder:
    """Return the encoder that `settings` name, loaded once per process and revision.

    A hub's model is taken at `revision`, unless its name says another one; None: the newest.
    """
    return _load(settings, compute, revision)


def forget() -> None:
    """Let go of the encoders that are loaded: what is in a folder may have become another checkpoint."""
    _load.cache_clear()


# To a cache an argument that is given and one that is left out are two keys.
@cache
def _load(settings: EncoderSettings, compute: Compute, revision: str | None) -> TokenEncoder:
    return ENGINES[settings.engine](settings, compute, revision)
