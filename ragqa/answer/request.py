"""What a model is to be sent, ready to go: everything that needs the corpus is done by then.

A request can be sent from any thread, also several at a time where the model allows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragqa.answer.citations import citations
from ragqa.answer.generate import generate
from ragqa.answer.prompts import Prompt
from ragqa.types import Answer, Context, SearchResult

if TYPE_CHECKING:
    import llm

    from ragqa.answer.extractive import Candidate


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A question's search, the context made of it, and the prompt for `model`.

    `timings_ms` are those of the stages so far; `count` counts the model's tokens, where that is known
    exactly; `candidates` are for `extractive` alone.
    """

    search: SearchResult
    context: Context
    model: llm.Model
    prompt: Prompt
    options: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    count: Callable[[str], int] | None = None
    candidates: Sequence[Candidate] | None = None

    def send(
        self,
        *,
        log: bool = True,
        note: Callable[[str], None] = lambda text: None,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> Answer:
        """Return the model's answer; `on_text` is told each piece as it comes.

        With `log` it is shown by `llm logs`. Raises RagqaError when the model fails.
        """
        from ragqa.answer.extractive import Extractive

        if isinstance(self.model, Extractive):
            self.model.candidates = self.candidates
        start = time.perf_counter()
        said = generate(self.model, self.prompt, self.options, log=log, note=note, on_text=on_text)
        took = round((time.perf_counter() - start) * 1000, 2)
        return Answer(
            search=self.search,
            context=self.context,
            model=self.model.model_id,
            text=said.text,
            citations=tuple(citations(said.text, self.context)),
            timings_ms={**self.timings_ms, "model": took},
            input_tokens=self._tokens(said.input_tokens, f"{self.prompt.system or ''}{self.prompt.text}"),
            output_tokens=self._tokens(said.output_tokens, said.text),
            cost=said.cost,
        )

    def _tokens(self, told: int | None, text: str) -> int | None:
        return self.count(text) if told is None and self.count is not None else told
