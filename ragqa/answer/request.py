"""What a model is to be sent, ready to go: everything that needs the corpus is done by then.

A request can be sent from any thread, also several at a time where the model allows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragqa.answer.events import Done, Event, Said, Text, fold
from ragqa.answer.generate import Generation, generate
from ragqa.answer.limits import TimeLimits
from ragqa.answer.locating import located_citations
from ragqa.answer.prompts import Prompt
from ragqa.answer.refusal import REFUSAL, is_refusal
from ragqa.answer.stream import AnswerStream, SentenceStream
from ragqa.types import Answer, Context, SearchResult

if TYPE_CHECKING:
    import llm

    from ragqa.answer.extractive import NumberedText
    from ragqa.answer.support import SupportChecker


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A question's search, the context made of it, and the prompt for `model`.

    `timings_ms` are those of the stages so far; `count` counts the model's tokens, where that is known
    exactly; `read` is what was read in the passages, for `extractive` alone. With a `checker` each sentence
    of the answer is checked. `hopeless` says that the context holds no answer: the model is not asked.
    `limits` are how long the model may take; None: as TimeLimits has it.
    """

    search: SearchResult
    context: Context
    model: llm.Model
    prompt: Prompt
    options: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    count: Callable[[str], int] | None = None
    read: Sequence[NumberedText] | None = None
    checker: SupportChecker | None = None
    conversation_id: str | None = None
    hopeless: bool = False
    limits: TimeLimits | None = None

    def send(self, *, log: bool = True, note: Callable[[str], None] = lambda text: None) -> Answer:
        """Return the model's answer; what else, as `events`."""
        return fold(self.events(log=log, note=note))

    def events(
        self, *, log: bool = True, note: Callable[[str], None] = lambda text: None
    ) -> Generator[Event, None, None]:
        """Yield the model's answer as it comes, `Text`, `Said` where there is a checker, and at last `Done`.

        With `log` the answer is shown by `llm logs`. Raises RagqaError when the model fails or takes too
        long.
        """
        from ragqa.answer.extractive import Extractive

        if self.hopeless:
            yield Text(REFUSAL)
            yield Said(REFUSAL, None)
            yield Done(self._refusal())
            return
        if isinstance(self.model, Extractive):
            self.model.read = self.read
        sentences = SentenceStream(self.checker) if self.checker else None
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
        answer = Answer(
            search=self.search,
            context=self.context,
            model=self.model.model_id,
            text=stream.text,
            citations=located_citations(stream.text, self.context, checked),
            timings_ms={**self.timings_ms, "model": took},
            input_tokens=self._tokens(said.input_tokens, f"{self.prompt.system or ''}{self.prompt.text}"),
            output_tokens=self._tokens(said.output_tokens, said.text),
            cost=said.cost,
            conversation_id=said.conversation_id,
            sentences=checked,
            removed=tuple(stream.removed),
            refused="model" if is_refusal(stream.text) else "",
        )
        yield Done(answer)

    def _refusal(self) -> Answer:
        return Answer(
            self.search, self.context, self.model.model_id, REFUSAL, (), self.timings_ms, refused="scores"
        )

    def _tokens(self, told: int | None, text: str) -> int | None:
        return self.count(text) if told is None and self.count is not None else told


def _told(
    pieces: Generator[str, None, Generation], stream: AnswerStream, sentences: SentenceStream | None
) -> Generator[Text | Said, None, Generation]:
    """Yield a model's pieces once it is sure what they are, and its sentences once they are whole."""
    said: Generation | None = None
    while said is None:
        try:
            fresh = stream.add(next(pieces))
        except StopIteration as end:
            said, fresh = end.value, stream.finish()
        if fresh:
            yield Text(fresh)
            if sentences is not None:
                yield from sentences.add(fresh)
    if sentences is not None:
        yield from sentences.finish()
    return said
