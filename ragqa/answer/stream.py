"""An answer as it comes from a model: cleaned of citations of what was never given, cut into sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragqa.answer.citations import settled, without_strangers
from ragqa.answer.sentences import answer_sentences
from ragqa.answer.support import SupportChecker
from ragqa.types import CheckedSentence

OnText = Callable[[str], None]
OnSentence = Callable[[str, CheckedSentence | None], None]


class AnswerStream:
    """Takes a model's pieces and tells `on_text` those of its answer, as soon as they are sure.

    Citations of numbers that are not `known` are taken out: `text` is the answer without them, so far,
    and `removed` holds them.
    """

    def __init__(self, known: Sequence[int], on_text: OnText) -> None:
        self.text = ""
        self.removed: list[int] = []
        self._known = known
        self._on_text = on_text
        self._raw = ""

    def add(self, piece: str) -> None:
        self._raw += piece
        self._release(settled(self._raw))

    def finish(self) -> None:
        self._release(len(self._raw))

    def _release(self, end: int) -> None:
        text, self.removed = without_strangers(self._raw[:end], self._known)
        fresh = text[len(self.text) :]
        if fresh:
            self.text = text
            self._on_text(fresh)


class SentenceStream:
    """Takes pieces of an answer and tells `on_sentence` each sentence, with its check, once it is whole.

    What it tells, joined, is the answer. `checked` holds the checks so far.
    """

    def __init__(self, checker: SupportChecker, on_sentence: OnSentence) -> None:
        self.checked: list[CheckedSentence] = []
        self._checker = checker
        self._on_sentence = on_sentence
        self._text = ""
        self._told = 0

    def add(self, piece: str) -> None:
        self._text += piece
        # The last sentence may go on, or have its citation still to come.
        self._tell(answer_sentences(self._text[self._told :])[:-1])

    def finish(self) -> None:
        self._tell(answer_sentences(self._text[self._told :]))
        if self._told < len(self._text):
            self._on_sentence(self._text[self._told :], None)

    def _tell(self, spans: Sequence[tuple[int, int]]) -> None:
        origin = self._told
        for start, end in spans:
            check = self._checker.check(self._text, (origin + start, origin + end))
            if check is not None:
                self.checked.append(check)
            self._on_sentence(self._text[self._told : origin + end], check)
            self._told = origin + end
