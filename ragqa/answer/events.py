"""What happens while a question is answered, as values: every face folds this one stream its own way.

In this order: `Found`, `Given`, then `Text` and `Said` as they come, and `Done`. After `Given` the corpus is
not needed any more, so that whoever lends it may take it back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from ragqa.errors import RagqaError
from ragqa.types import Answer, CheckedSentence, Context, SearchResult

OnText = Callable[[str], None]
OnSentence = Callable[[str, CheckedSentence | None], None]


@dataclass(frozen=True, slots=True)
class Found:
    """The hits, before the model is asked."""

    result: SearchResult


@dataclass(frozen=True, slots=True)
class Given:
    """The context that the model is given: what citations of it mean."""

    context: Context


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer; joined they are its text."""

    piece: str


@dataclass(frozen=True, slots=True)
class Said:
    """A whole sentence of the answer, with its check; joined they are its text too, where it is checked.

    A refusal without asking the model is said always, without a check.
    """

    piece: str
    check: CheckedSentence | None


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer."""

    answer: Answer


Item = TypeVar("Item")
Result = TypeVar("Result")

Event = Found | Given | Text | Said | Done


def fold(events: Generator[Any, None, object], tell: Callable[[Any], None] = lambda event: None) -> Answer:
    """Return the answer that `events` end with; `tell` is told each of them, that one as well.

    Raises RagqaError for events that end without one.
    """
    # Whoever is told may raise: what the events hold open is closed at once.
    with closing(events):
        for event in events:
            tell(event)
            if isinstance(event, Done):
                return event.answer
    raise RagqaError("The answer was broken off.")


def drain(
    pieces: Generator[Item, None, Result], tell: Callable[[Item], object] = lambda item: None
) -> Result:
    """Return what a generator returns in the end; `tell` is told each thing that it yields before."""
    with closing(pieces):
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                result: Result = end.value
                return result
            tell(piece)
