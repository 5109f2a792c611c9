"""The model's call through `llm`: streamed, and logged to llm's own database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError

if TYPE_CHECKING:
    import llm

Result = TypeVar("Result")
_LOGGING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model said, with the tokens and the cost (in dollars) where its plugin tells `llm`.

    `conversation_id` is that of llm's log, None where nothing was logged.
    """

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    conversation_id: str | None = None


def generate(
    model: llm.Model,
    prompt: Prompt,
    options: Mapping[str, Any],
    *,
    log: bool,
    conversation_id: str | None = None,
    note: Callable[[str], None],
) -> Generator[str, None, Generation]:
    """Yield what `model` says, piece by piece, and return the whole; with `log`, `llm logs` shows it.

    It is logged within the conversation `conversation_id`, or as one of its own. What was said there
    before is no part of what the model is sent.

    Raises RagqaError when the model fails, whatever its plugin raised; that is its cause. A log that
    cannot be written loses no answer: `note` is told.
    """
    pieces: list[str] = []
    try:
        response = _conversation(model, conversation_id).prompt(
            prompt.text, system=prompt.system, stream=model.can_stream, **options
        )
        stream = iter(response)
    except Exception as error:
        raise _failure(model, error) from error
    while True:
        # What goes wrong in whoever takes the pieces is not the model's failure.
        try:
            piece = next(stream, None)
        except Exception as error:
            raise _failure(model, error) from error
        if piece is None:
            break
        # Half a character, such as a broken model may give, can be neither logged nor printed.
        piece = piece.encode("utf-8", "replace").decode("utf-8")
        pieces.append(piece)
        yield piece
    logged = False
    if log:
        try:
            logged = _log(response)
        except Exception as error:
            note(f"The answer is not in llm's log: {error}.")
    details = response.token_details or {}
    cost = details.get("cost")
    return Generation(
        "".join(pieces),
        response.input_tokens,
        response.output_tokens,
        float(cost) if isinstance(cost, int | float) else None,
        response.conversation.id if logged and response.conversation else None,
    )


def say(model: llm.Model, prompt: Prompt, options: Mapping[str, Any]) -> Generation:
    """Return what `model` says, unlogged; raises RagqaError when it fails."""
    return drain(generate(model, prompt, options, log=False, note=lambda text: None))


def drain(pieces: Generator[str, None, Result], on_text: Callable[[str], None] = lambda text: None) -> Result:
    """Return what a generator of pieces returns in the end, telling `on_text` each piece."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            result: Result = end.value
            return result
        on_text(piece)


def _failure(model: llm.Model, error: Exception) -> RagqaError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return RagqaError(f"The model {model.model_id} failed: {reason}")


def _conversation(model: llm.Model, conversation_id: str | None) -> llm.Conversation:
    import llm

    return llm.Conversation(model=model, id=conversation_id) if conversation_id else model.conversation()


def _log(response: llm.Response) -> bool:
    """Log to llm's own database, and tell whether it is logged: `llm logs off` turns that off."""
    import llm
    from llm.migrations import migrate
    from sqlite_utils import Database

    if (llm.user_dir() / "logs-off").exists():
        return False
    # Two threads that make the tables at the same time get in each other's way.
    with _LOGGING:
        db = Database(llm.user_dir() / "logs.db")
        try:
            migrate(db)
            response.log_to_db(db)
        finally:
            db.close()
    return True
