"""The model's call through `llm`: streamed, and logged to llm's own database."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragqa.answer.events import drain
from ragqa.answer.limits import OvertimeError, Puller, TimeLimits
from ragqa.answer.prompts import Prompt
from ragqa.errors import RagqaError
from ragqa.safety.redaction import KeyFilter, redacted

if TYPE_CHECKING:
    import llm

_LOGGING = threading.Lock()
# The ids of models in this process that did not stop when they were told to, and what they are still at.
_left_behind: list[tuple[str, threading.Thread]] = []
_LEAVING = threading.Lock()
# How long a question waits for the model to be done with what it was stopped at.
STILL_BUSY_S = 10.0


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
    limits: TimeLimits | None = None,
    note: Callable[[str], None],
) -> Generator[str, None, Generation]:
    """Yield what `model` says, piece by piece, and return the whole; with `log`, `llm logs` shows it.

    It is logged within the conversation `conversation_id`, or as one of its own. What was said there
    before is no part of what the model is sent. The model's key is taken out of what it says.

    Raises RagqaError when the model fails, whatever its plugin raised, which is its cause, and when it
    takes longer than `limits`. A log that cannot be written loses no answer: `note` is told.
    """
    key = _key(model)
    with _failures(model, key):
        response = _conversation(model, conversation_id).prompt(
            prompt.text, system=prompt.system, stream=model.can_stream, **options
        )
    said: list[str] = []
    without_key = KeyFilter([key])
    for piece in _pieces(model, response, key, limits or TimeLimits()):
        # Half a character, such as a broken model may give, can be neither logged nor printed.
        clean = without_key.add(piece.encode("utf-8", "replace").decode("utf-8"))
        if clean:
            said.append(clean)
            yield clean
    rest = without_key.finish()
    if rest:
        said.append(rest)
        yield rest
    logged = False
    if log and without_key.removed:
        note("The answer is not in llm's log: the model said its own key.")
    elif log:
        try:
            logged = _log(response, key)
        except Exception as error:
            note(f"The answer is not in llm's log: {redacted(str(error), [key])}.")
    details = response.token_details or {}
    cost = details.get("cost")
    return Generation(
        "".join(said),
        response.input_tokens,
        response.output_tokens,
        float(cost) if isinstance(cost, int | float) else None,
        response.conversation.id if logged and response.conversation else None,
    )


def say(model: llm.Model, prompt: Prompt, options: Mapping[str, Any]) -> Generation:
    """Return what `model` says, unlogged; raises RagqaError when it fails."""
    return drain(generate(model, prompt, options, log=False, note=lambda text: None))


def _pieces(
    model: llm.Model, response: llm.Response, key: str | None, limits: TimeLimits
) -> Generator[str, None, None]:
    """Yield the pieces of a response, each made within `limits`."""
    from ragqa.answer.extractive import Extractive

    if isinstance(model, Extractive):
        # It is quicker than a thread is started, and waits for nothing.
        with _failures(model, key):
            pieces = list(response)
        yield from pieces
        return
    _wait_for(model)
    if not model.can_stream:
        limits = TimeLimits(limits.total_s, limits.total_s)
    puller = Puller(lambda: response, limits)
    try:
        while True:
            # What goes wrong in whoever takes the pieces is not the model's failure.
            with _failures(model, key):
                piece = puller.next()
                if piece is not None and not isinstance(piece, str):
                    raise TypeError(f"it said {type(piece).__name__}, and not text")
            if piece is None:
                return
            yield piece
    finally:
        if not puller.stop() and _is_in_process(model):
            with _LEAVING:
                _left_behind.append((model.model_id, puller.thread))


def _is_in_process(model: llm.Model) -> bool:
    """Tell whether a model is loaded in this process, where it cannot do two things at once."""
    from ragqa.answer.models import prepare_model

    # Not `is_remote`: of a plugin of which neither is known the next question should not have to wait.
    return prepare_model(model).window is not None


def _wait_for(model: llm.Model) -> None:
    """Wait until a model in the process is done with what it was stopped at: it cannot do two things."""
    with _LEAVING:
        _left_behind[:] = [(other, thread) for other, thread in _left_behind if thread.is_alive()]
        # By their ids: a server may have copied the model, and what is loaded is the same.
        busy = [thread for other, thread in _left_behind if other == model.model_id]
    for thread in busy:
        thread.join(STILL_BUSY_S)
        if thread.is_alive():
            raise RagqaError(f"The model {model.model_id} is still busy with an earlier question.")


@contextmanager
def _failures(model: llm.Model, key: str | None) -> Iterator[None]:
    """Turn whatever a model raises into RagqaError, without its key in it."""
    try:
        yield
    except OvertimeError as error:
        raise RagqaError(f"The model {model.model_id} {_overtime(error)}") from TimeoutError()
    except SystemExit as error:
        # A plugin that gives up ends its answer, and not the program.
        said = " ".join(redacted(str(error), [key]).split())
        reason = "it wanted to end the program" + (f": {said}" if said else "")
        raise RagqaError(f"The model {model.model_id} failed: {reason}") from error
    except Exception as error:
        reason = " ".join(redacted(str(error), [key]).split()) or type(error).__name__
        raise RagqaError(f"The model {model.model_id} failed: {reason}") from error


def _overtime(error: OvertimeError) -> str:
    seconds = f"{error.seconds:g} seconds"
    if error.total:
        return f"was not done after {seconds}."
    return f"fell silent: nothing came for {seconds}." if error.begun else f"said nothing for {seconds}."


def _key(model: llm.Model) -> str | None:
    """Return the key that `model` is called with; None where it has none, and where that cannot be told."""
    try:
        return model.get_key()
    except (Exception, SystemExit):
        return None


def _conversation(model: llm.Model, conversation_id: str | None) -> llm.Conversation:
    import llm

    return llm.Conversation(model=model, id=conversation_id) if conversation_id else model.conversation()


def _log(response: llm.Response, key: str | None) -> bool:
    """Log to llm's own database, and tell whether it is logged: `llm logs off` turns that off."""
    import llm
    from llm.migrations import migrate
    from sqlite_utils import Database

    if (llm.user_dir() / "logs-off").exists():
        return False
    raw = json.dumps(response.response_json, default=repr)
    if redacted(raw, [key]) != raw:
        # A server may send back what it was sent.
        response.response_json = json.loads(redacted(raw, [key]))
    # Two threads that make the tables at the same time get in each other's way.
    with _LOGGING:
        db = Database(llm.user_dir() / "logs.db")
        try:
            migrate(db)
            response.log_to_db(db)
        finally:
            db.close()
    return True
