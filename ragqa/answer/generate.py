"""The model's call through `llm`: streamed, and logged to llm's own database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
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
    note: Callable[[str], None],
    on_text: Callable[[str], None],
) -> str:
    """Return what `model` says, telling `on_text` each piece as it comes; with `log`, `llm logs` shows it.

    Raises RagqaError when the model fails, whatever its plugin raised. A log that cannot be written
    loses no answer: `note` is told.
    """
    pieces: list[str] = []
    for piece in _pieces(model, prompt, options, log, note):
        pieces.append(piece)
        on_text(piece)
    return "".join(pieces)


def _pieces(
    model: llm.Model, prompt: Prompt, options: Mapping[str, Any], log: bool, note: Callable[[str], None]
) -> Iterator[str]:
    """Yield the answer; what goes wrong in whoever takes the pieces is not the model's failure."""
    try:
        response = model.prompt(prompt.text, system=prompt.system, stream=model.can_stream, **options)
        yield from response
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RagqaError(f"The model {model.model_id} failed: {reason}") from error
    if log:
        try:
            _log(response)
        except (OSError, sqlite3.Error) as error:
            note(f"The answer is not in llm's log: {error}.")


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
