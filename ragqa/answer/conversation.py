"""Conversations: what was said before, as a prompt reads it, as a follow-up means it and as llm logged it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragqa.answer.citations import without_strangers
from ragqa.answer.context import parse
from ragqa.answer.follow_up import accepted, join
from ragqa.errors import RagqaError, UsageError
from ragqa.safety.untrusted import for_model
from ragqa.types import Conversation, Turn

if TYPE_CHECKING:
    import llm
    from llm.logs import LogStore

    from ragqa.answer.limits import TimeLimits
    from ragqa.answer.models import Fit

# Of the context's tokens, what earlier turns may take; of theirs, what one question and one answer may.
HISTORY_SHARE = 4
QUESTION_SHARE, ANSWER_SHARE = 4, 2
ELLIPSIS = " …"
# What may stand around a rewritten question before it is given up: a model that rambles is stopped here.
LONGEST_REPLY = 600

_QUESTION_LINE = re.compile(r"^Question:[ \t]*", re.M)


def history_text(conversation: Conversation, fitting: Fit) -> str:
    """Return what was said so far as $history of a prompt, the oldest turns left out past the budget.

    Earlier answers may hold what documents said, so they are quoted as the passages are.
    """
    quoted = quoted_turns(conversation.turns, fitting)
    return f"Earlier in this conversation:\n\n{quoted}\n\n" if quoted else ""


def quoted_turns(turns: Sequence[Turn], fitting: Fit) -> str:
    """Return the last of `turns` that fit, two quoted lines each, oldest first, without citation marks."""
    budget = fitting.context_tokens // HISTORY_SHARE
    lines: list[str] = []
    for turn in reversed(turns):
        question = _cut(turn.question, budget // QUESTION_SHARE, fitting.count)
        answer = _cut(without_strangers(turn.answer, ())[0], budget // ANSWER_SHARE, fitting.count)
        said = [f"> Q: {question}", f"> A: {answer}"]
        budget_used = fitting.count("\n".join([*said, *lines]))
        if budget_used > budget:
            break
        lines = [*said, *lines]
    return "\n".join(lines)


def _cut(text: str, limit: int, count: Callable[[str], int]) -> str:
    """Return `text` as one line of at most `limit` tokens; one that was longer ends in an ellipsis."""
    # No token is longer on average, and what is longer by far need not be counted.
    short = for_model(text[: limit * 20])
    words = short.split()
    if len(text) <= limit * 20 and count(" ".join(words)) <= limit:
        return " ".join(words)
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if count(" ".join(words[:middle]) + ELLIPSIS) <= limit:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low]) + ELLIPSIS


def stand_alone(
    question: str,
    conversation: Conversation,
    model: llm.Model,
    options: Mapping[str, Any],
    limits: TimeLimits | None = None,
) -> str:
    """Return a follow-up question as one that can be searched by itself.

    `model` rewrites it, which is not logged. Where what it writes is no such question, and for a model
    that is too small to be asked or takes longer than `limits`, one that leans on the question before is
    joined with that one's words.
    The first question of a conversation stays as it is.
    """
    from ragqa.answer.extractive import Extractive
    from ragqa.answer.models import prepare_model

    if not conversation.turns:
        return question
    if not isinstance(model, Extractive):
        fitting = prepare_model(model)
        # SmolLM2-135M answered, or repeated its instructions: it wrote no question for any of 20 follow-ups,
        # in 5 seconds each. Joined by the rule, the right note came first for 14 of them and second for 5.
        if fitting.window is None:
            rewritten = rewrite(question, conversation, model, options, fitting, limits)
            if rewritten:
                return rewritten
    return join(question, [turn.question for turn in conversation.turns])


def rewrite(
    question: str,
    conversation: Conversation,
    model: llm.Model,
    options: Mapping[str, Any],
    fitting: Fit,
    limits: TimeLimits | None = None,
) -> str:
    """Return what `model` makes of a follow-up question; "" when that is no question like it, or it fails."""
    from ragqa.answer.generate import generate
    from ragqa.answer.prompts import fill_prompt, load_prompt

    template = load_prompt("rewrite", needed=frozenset({"history", "input"}))
    history = quoted_turns(conversation.turns, fitting)
    prompt = fill_prompt(template, {"history": history, "input": question})
    reply = ""
    try:
        for piece in generate(model, prompt, options, log=False, limits=limits, note=lambda text: None):
            reply += piece
            if len(reply) > LONGEST_REPLY:
                # Too long for a question; the rest is not waited for.
                return ""
    except RagqaError:
        # It will say why when it is asked for the answer.
        return ""
    return accepted(reply, question, conversation.turns)


def last_conversation() -> Conversation:
    """Return the conversation in llm's own log in which something was said last, ours or one with `llm`.

    Raises UsageError when there is none, and where logging is turned off.
    """
    import llm

    path = llm.user_dir() / "logs.db"
    if (llm.user_dir() / "logs-off").exists():
        raise UsageError("There is no conversation to continue: logging is off (llm logs on).")
    if not path.exists():
        raise UsageError("There is no conversation to continue: nothing is logged yet.")
    try:
        with _log_store() as store:
            return _newest(store)
    except sqlite3.Error as error:
        raise UsageError(f"There is no conversation to continue: {path} cannot be read ({error}).") from error


@contextmanager
def _log_store() -> Iterator[LogStore]:
    import llm
    from llm.logs import LogStore
    from sqlite_utils import Database

    db = Database(llm.user_dir() / "logs.db")
    try:
        yield LogStore(db)
    finally:
        db.close()


def _newest(store: LogStore) -> Conversation:
    """Read by the function behind `llm logs`, which knows the tables of today and those of older versions."""
    from llm.logs import merged_log_rows

    for newest in merged_log_rows(store, count=1):
        conversation_id = str(newest["conversation_id"])
        turns: list[Turn] = []
        for row in reversed(merged_log_rows(store, thread_id=conversation_id)):
            question, answer = logged_question(row["prompt"] or ""), row["response"] or ""
            if question:
                turns.append(Turn(question, answer))
            elif turns and answer:
                # What a model says once its tools have run, to the same question.
                turns[-1] = Turn(turns[-1].question, answer)
        if turns:
            return Conversation(tuple(turns), conversation_id)
    raise UsageError("There is no conversation to continue: nothing is logged yet.")


def logged_question(prompt: str) -> str:
    """Return the question of a logged prompt: what follows "Question:" after our passages, or all of it.

    Passages and earlier turns are quoted, so no line of theirs can pass for the question.
    """
    parsed = parse(prompt)
    if parsed.blocks:
        marks = list(_QUESTION_LINE.finditer(parsed.after))
        if marks:
            return parsed.after[marks[0].end() :].strip()
        # A prompt of the user's own may put the question elsewhere: a line is better than all passages.
        return next((line.strip() for line in reversed(prompt.splitlines()) if line.strip()), "")
    return prompt.strip()
