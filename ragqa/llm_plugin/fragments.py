"""`llm -f "ragqa:QUESTION"`: the context of a question as fragments, one for each of its blocks."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llm
from pydantic import Field, ValidationError

from ragqa.config import Strict, explain, load_config
from ragqa.errors import RagqaError, UsageError

if TYPE_CHECKING:
    from ragqa.config import Config
    from ragqa.types import Passage

# No question begins like this, even one about templates or JSON.
_OBJECT = re.compile(r'\s*\{\s*"question"')


class Request(Strict):
    """What is asked of which corpus, how, for at most `k` passages."""

    question: str
    config: str = "default"
    db: Path | None = None
    k: int | None = Field(default=None, ge=1)


def passages(argument: str) -> list[llm.Fragment]:
    """
    The passages of your documents that answer a question: ragqa:QUESTION

    Each is quoted, with its title, date and source. To choose the config, the corpus (else
    $RAGQA_DB, or your own one) or how many passages, write a JSON object that begins with the question:

    llm -f 'ragqa:{"question": "what is WAL?", "config": "fts", "db": "notes.db", "k": 3}' ...
    """
    try:
        return _fragments(_parse(argument))
    except (RagqaError, sqlite3.Error) as error:
        raise ValueError(str(error)) from error


def _parse(argument: str) -> Request:
    if not _OBJECT.match(argument):
        return Request(question=argument)
    try:
        values: dict[str, Any] = json.loads(argument)
        return Request(**values)
    except json.JSONDecodeError as error:
        raise UsageError(f"What follows ragqa: is no JSON object: {error}.") from error
    except ValidationError as error:
        raise UsageError(f"The JSON object after ragqa: is wrong: {explain(error, Request)}") from error


def _fragments(request: Request) -> list[llm.Fragment]:
    from ragqa.answer.context import render
    from ragqa.cli.show import note
    from ragqa.pipeline import Pipeline
    from ragqa.safety.untrusted import for_line
    from ragqa.search.one import open_corpus

    config = _config(request)
    with open_corpus(config, request.db) as corpus:
        _, context = Pipeline(config, corpus, note).context(request.question)
    if not context.blocks:
        raise UsageError(f"No passage matches the question {request.question!r}.")
    # llm puts one newline after a fragment, and a blank line is to follow each.
    return [llm.Fragment(f"{render([block])}\n", for_line(_source(block.first))) for block in context.blocks]


def _source(passage: Passage) -> str:
    """Return where a passage can be looked up again: a file's name alone tells no two passages apart."""
    return passage.source if passage.source.startswith("http") else passage.id_and_place


def _config(request: Request) -> Config:
    config = load_config(request.config)
    if request.k is None:
        return config
    context = config.context.model_copy(update={"passages": request.k})
    return config.model_copy(update={"k": max(config.k, request.k), "context": context})
