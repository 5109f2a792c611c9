"""What a model is to be sent, ready to go: everything that needs the corpus is done by then.

A request can be sent from any thread, also several at a time where the model allows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragqa.answer.citations import citations
from ragqa.answer.generate import Generation, drain, generate
from ragqa.answer.limits import TimeLimits
from ragqa.answer.prompts import Prompt
from ragqa.answer.refusal import REFUSAL, is_refusal
from ragqa.answer.stream import AnswerStream, OnSentence, OnText, SentenceStream
from ragqa.types import Answer, Context, SearchResult

if TYPE_CHECKING:
    import llm

    from ragqa.answer.extractive import Candidate
    from ragqa.answer.support import SupportChecker


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A question's search, the context made of it, and the prompt for `model`.

    `timings_ms` are those of the stages so far; `count` counts the model's tokens, where that is known
    exactly; `candidates` are for `extractive` alone. With a `checker` each sentence of the answer is
    checked. `hopeless` says that the context holds no answer: the model is not asked. `limits` are how long
    the model may take; None: as TimeLimits has it.
    """

    search: SearchResult
    context: Context
    model: llm.Model
    prompt: Prompt
    options: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    count: Callable[[str], int] | None = None
    candidates: Sequence[Candidate] | None = None
    checker: SupportChecker | None = None
    conversation_id: str | None = None
    hopeless: bool = False
    limits: TimeLimits | None = None

    def send(
        self,
        *,
        log: bool = True,
        note: Callable[[str], None] = lambda text: None,
        on_text: OnText = lambda text: None,
        on_sentence: OnSentence = lambda text, check: None,
    ) -> Answer:
        """Return the model's answer, telling `on_text` each piece; else as `stream`."""
        return drain(self.stream(log=log, note=note, on_sentence=on_sentence), on_text)

    def stream(
        self,
        *,
        log: bool = True,
        note: Callable[[str], None] = lambda text: None,
        on_sentence: OnSentence = lambda text, check: None,
    ) -> Generator[str, None, Answer]:
        """Yield the pieces of the model's answer, which joined are its text, and return the answer.

        `on_sentence` is told each sentence with its check; without a checker it is told nothing. The refusal
        of a hopeless request it is told in any case, without a check. With `log` the answer is shown by
        `llm logs`. Raises RagqaError when the model fails or takes too long.
        """
        from ragqa.answer.extractive import Extractive

        if self.hopeless:
            yield REFUSAL
            on_sentence(REFUSAL, None)
            return self._refusal()
        if isinstance(self.model, Extractive):
            self.model.candidates = self.candidates
        sentences = SentenceStream(self.checker, on_sentence) if self.checker else None
        stream = AnswerStream([block.number for block in self.context.blocks])
        start = time.perf_counter()
        pieces = generate(
            self.model,
            self.prompt,
            self.options,
            log=log,
            conversation_id=self.conversation_id,
            limits=self.limits,
            note=note,
        )
        said = yield from _told(pieces, stream, sentences)
        took = round((time.perf_counter() - start) * 1000, 2)
        checked = tuple(sentences.checked) if sentences else ()
        return Answer(
            search=self.search,
            context=self.context,
            model=self.model.model_id,
            text=stream.text,
            citations=citations(stream.text, self.context, checked),
            timings_ms={**self.timings_ms, "model": took},
            input_tokens=self._tokens(said.input_tokens, f"{self.prompt.system or ''}{self.prompt.text}"),
            output_tokens=self._tokens(said.output_tokens, said.text),
            cost=said.cost,
            conversation_id=said.conversation_id,
            sentences=checked,
            removed=tuple(stream.removed),
            refused="model" if is_refusal(stream.text) else "",
        )

    def _refusal(self) -> Answer:
        return Answer(
            self.search, self.context, self.model.model_id, REFUSAL, (), self.timings_ms, refused="scores"
        )

    def _tokens(self, told: int | None, text: str) -> int | None:
        return self.count(text) if told is None and self.count is not None else told


def _told(
    pieces: Generator[str, None, Generation], stream: AnswerStream, sentences: SentenceStream | None
) -> Generator[str, None, Generation]:
    """Yield a model's pieces once it is sure what they are, and let `sentences` have them too."""
    said: Generation | None = None
    while said is None:
        try:
            fresh = stream.add(next(pieces))
        except StopIteration as end:
            said, fresh = end.value, stream.finish()
        if fresh:
            yield fresh
            if sentences is not None:
                sentences.add(fresh)
    if sentences is not None:
        sentences.finish()
    return said
