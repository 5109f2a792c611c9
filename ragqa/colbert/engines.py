"""The engines behind the encoder contract, by name, and the one place that loads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ragqa.colbert.encoder import EncoderSettings, TokenEncoder
from ragqa.device import resolve_device
from ragqa.errors import unknown_name


def _sentence_transformers(settings: EncoderSettings, device: str) -> TokenEncoder:
    """Return the engine on `device`; on the CPU the embedded model's questions need none."""

    def engine() -> TokenEncoder:
        from ragqa.colbert.sentence_transformers import SentenceTransformersEncoder

        return SentenceTransformersEncoder(settings, resolve_device(device))

    if settings.model == "embedded" and device in ("auto", "cpu"):
        from ragqa.colbert.lean import LeanEncoder

        return LeanEncoder(settings, engine)
    return engine()


ENGINES: dict[str, Callable[[EncoderSettings, str], TokenEncoder]] = {
    "sentence-transformers": _sentence_transformers,
}


def check_engine(name: str) -> None:
    """Raise UsageError when there is no engine `name`."""
    if name not in ENGINES:
        raise unknown_name("ColBERT engine", name, ENGINES)


@cache
def load_encoder(settings: EncoderSettings, device: str) -> TokenEncoder:
    """Return the encoder that `settings` name, loaded once per process; `device` as the config names it."""
    check_engine(settings.engine)
    return ENGINES[settings.engine](settings, device)
