"""The events of an answer, and those of a corpus that many ask at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ragqa.answer import events
from ragqa.errors import RagqaError


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence about why nothing happens yet."""

    text: str


@dataclass(frozen=True, slots=True)
class Searched:
    """The question as it is searched: a follow-up made to stand alone."""

    question: str


Event = events.Event | Note | Searched
Tell = Callable[[Event], None]
# Whether nobody waits for the result any more.
Stopped = Callable[[], bool]


class StoppedError(RagqaError):
    """Nobody waits for the result any more."""


def go_on(stopped: Stopped) -> None:
    """Raise StoppedError where nobody waits."""
    if stopped():
        raise StoppedError("The request was cancelled.")
