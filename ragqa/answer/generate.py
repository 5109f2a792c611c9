"""The model's call through `llm`: streamed, and logged to llm's own database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError

if TYPE_CHECKING:
    import llm


def generate(
    model: llm.Model,
    prompt: Prompt,
    options: Mapping[str, Any],
    *,
    log: bool,
    on_text: Callable[[str], None] = lambda text: None,
) -> str:
    """Return what `model` says, telling `on_text` each piece as it comes; with `log`, `llm logs` shows it.

    Raises RagqaError when the model fails, whatever its plugin raised.
    """
    pieces: list[str] = []
    try:
        response = model.prompt(prompt.text, system=prompt.system, stream=model.can_stream, **options)
        for piece in response:
            pieces.append(piece)
            on_text(piece)
        if log:
            _log(response)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RagqaError(f"The model {model.model_id} failed: {reason}") from error
    return "".join(pieces)


def _log(response: llm.Response) -> None:
    import llm
    from llm.migrations import migrate
    from sqlite_utils import Database

    if (llm.user_dir() / "logs-off").exists():
        return
    db = Database(llm.user_dir() / "logs.db")
    try:
        migrate(db)
        response.log_to_db(db)
    finally:
        db.close()
