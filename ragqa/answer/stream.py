"""An answer as it comes from a model: cleaned of citations of what was never given, cut into sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragqa.answer.citations import closed_paragraphs, settled, without_strangers
from ragqa.answer.events import Done, Event, Said, Text
from ragqa.answer.sentences import answer_sentences
from ragqa.answer.support import SupportChecker
from ragqa.errors import RagqaError
from ragqa.types import Answer, CheckedSentence

# A model that does not stop is stopped: at so many characters, and at so many pieces without any.
LONGEST_ANSWER = 100_000
MOST_EMPTY = 100_000
# What has come is looked at anew once it has grown by this part, or by a line.
_SHARE = 500


class AnswerStream:
    """Takes a model's pieces and gives those of its answer, as soon as they are sure.

    Citations of numbers that are not `known` are taken out: `text` is the answer without them, so far,
    and `removed` holds them.
    """

    def __init__(self, known: Sequence[int]) -> None:
        self.text = ""
        self._removed: dict[int, None] = {}
        self._known = known
        # What is before `_raw` is settled for good, and said; of `_raw` itself so many characters are said.
        self._raw = ""
        self._said = 0
        self._looked = 0
        self._length = 0
        self._empty = 0

    @property
    def removed(self) -> list[int]:
        return list(self._removed)

    def add(self, piece: str) -> str:
        """Return what is sure now that was not before; raises RagqaError when the model does not stop."""
        self._length += len(piece)
        self._empty = 0 if piece else self._empty + 1
        if self._length > LONGEST_ANSWER:
            raise RagqaError(
                f"The model did not stop: its answer has more than {LONGEST_ANSWER:,} characters."
            )
        if self._empty > MOST_EMPTY:
            raise RagqaError(f"The model did not stop: it said nothing {MOST_EMPTY:,} times.")
        self._raw += piece
        # The longer a paragraph, the rarer it is looked at, or the time would grow with its square.
        if len(self._raw) - self._looked < len(self._raw) // _SHARE and "\n" not in piece:
            return ""
        self._looked = len(self._raw)
        end = settled(self._raw)
        fresh = self._release(end)
        start = closed_paragraphs(self._raw, end)
        if start:
            self._said -= len(without_strangers(self._raw[:start], self._known)[0])
            self._raw = self._raw[start:]
            self._looked = len(self._raw)
        return fresh

    def finish(self) -> str:
        """Return the rest."""
        return self._release(len(self._raw))

    def _release(self, end: int) -> str:
        text, removed = without_strangers(self._raw[:end], self._known)
        self._removed.update(dict.fromkeys(removed))
        fresh = text[self._said :]
        self._said = max(self._said, len(text))
        self.text += fresh
        return fresh


class SentenceStream:
    """Takes pieces of an answer and gives each sentence, with its check, once it is whole.

    What it gives, joined, is the answer. `checked` holds the checks so far.
    """

    def __init__(self, checker: SupportChecker) -> None:
        self.checked: list[CheckedSentence] = []
        self._checker = checker
        self._text = ""
        self._told = 0
        self._looked = 0

    def add(self, piece: str) -> Iterator[Said]:
        """Yield the sentences that are whole now and were not before."""
        self._text += piece
        # A sentence that does not end is looked at the rarer the longer it is.
        if len(self._text) - self._looked < (len(self._text) - self._told) // _SHARE:
            return
        self._looked = len(self._text)
        # The last sentence may go on, or have its citation still to come.
        yield from self._tell(answer_sentences(self._text[self._told :])[:-1])

    def finish(self) -> Iterator[Said]:
        """Yield the rest."""
        yield from self._tell(answer_sentences(self._text[self._told :]))
        if self._told < len(self._text):
            yield Said(self._text[self._told :], None)

    def _tell(self, spans: Sequence[tuple[int, int]]) -> Iterator[Said]:
        origin = self._told
        for start, end in spans:
            check = self._checker.check(self._text, (origin + start, origin + end))
            if check is not None:
                self.checked.append(check)
            said = Said(self._text[self._told : origin + end], check)
            self._told = origin + end
            yield said


class StreamedAnswer:
    """An answer on its way: iterate over it for its pieces, once.

    >>> from ragqa import Pipeline
    >>> pipeline = Pipeline.from_config("default", db="notes.db")
    >>> stream = pipeline.stream("How warm is green tea steeped?", model="extractive")
    >>> for piece in stream:
    ...     print(piece, end="")
    Green tea is steeped at **70 degrees** for two minutes. [1]
    >>> stream.answer.citations[0].passage.document_id
    'tea.html'
    >>> pipeline.close()
    """

    def __init__(self, events: Iterator[Event]) -> None:
        self._pieces = self._read(events)
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for what has not come yet. Raises RagqaError when the model failed."""
        for _ in self._pieces:
            pass
        if self._answer is None:
            raise RagqaError("The answer was broken off.")
        return self._answer

    def _read(self, events: Iterator[Event]) -> Iterator[str]:
        for event in events:
            match event:
                case Text(piece):
                    yield piece
                case Done(answer):
                    self._answer = answer
