"""A conversation that goes on: each question is made to stand alone, searched, and answered."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ragqa.answer.events import Done, Text, fold
from ragqa.errors import UsageError
from ragqa.pipeline import Pipeline
from ragqa.search.one import check_question
from ragqa.service.events import Event, Searched, Tell
from ragqa.types import Answer, Conversation, Turn

if TYPE_CHECKING:
    from ragqa.explain.explanation import Explanation


class Chat:
    """A conversation over one corpus, with the pipeline and the model that go on with it.

    `open_pipeline` returns the pipeline of a config by its name; `model` and `options` are those of the
    config where they are None. Nothing here prints or reads.
    """

    def __init__(
        self,
        open_pipeline: Callable[[str], Pipeline],
        config: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        rewriting: bool = True,
        log: bool = True,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.conversation = Conversation()
        self.rewriting = rewriting
        self._last: Answer | None = None
        self._open_pipeline = open_pipeline
        self._log = log
        self._note = note
        self._own_model, self._own_options = model, options
        self.use_config(config)

    @property
    def model(self) -> str:
        return self._model.model_id

    def use_config(self, name: str) -> None:
        """Go on with the config `name`; a model that was asked for stays.

        Raises RagqaError, and all stays as it was, when there is no such config or it cannot be used.
        """
        pipeline = self._open_pipeline(name)
        self._model, self._options = pipeline.model(self._own_model, self._own_options)
        self.pipeline = pipeline

    def use_model(self, name: str) -> None:
        """Go on with the model `name`, with the config's options where it is the config's model.

        Raises RagqaError, and all stays as it was, when there is no such model or it has no key.
        """
        self._model, self._options = self.pipeline.model(name)
        self._own_model, self._own_options = name, None

    def resume(self) -> None:
        """Go on with the last conversation in llm's log; raises UsageError when there is none."""
        from ragqa.answer.conversation import last_conversation

        self.conversation = last_conversation()

    def forget(self) -> None:
        """Begin a new conversation."""
        self.conversation = Conversation()
        self._last = None

    def ask(self, text: str, tell: Tell = lambda event: None) -> Answer:
        """Return the answer to the next question, having told all of it as it came; else as `events`."""
        return fold(self.events(text), tell)

    def events(self, text: str) -> Generator[Event, None, None]:
        """Yield what happens while the next question is answered, from `Searched` to `Done`.

        A question that fails is no part of the conversation. One that is interrupted is, with what was
        written of its answer. Raises what `Pipeline.ask` raises.
        """
        from ragqa.answer.conversation import ELLIPSIS, stand_alone

        question = check_question(text, self.pipeline.config.limits.question)
        if self.rewriting:
            question = stand_alone(
                question, self.conversation, self._model, self._options, self.pipeline.limits
            )
        yield Searched(question)
        request = yield from self.pipeline.preparing(
            question, self._model, self._options, conversation=self.conversation
        )
        written: list[str] = []
        answer: Answer | None = None
        try:
            for event in request.events(log=self._log, note=self._note):
                match event:
                    case Text(piece):
                        written.append(piece)
                    case Done(answer):
                        self._remember(Turn(question, answer.text), answer.conversation_id)
                        self._last = answer
                yield event
        except (KeyboardInterrupt, GeneratorExit):
            # Here, or in whoever was told.
            if written and answer is None:
                self._remember(Turn(question, "".join(written) + ELLIPSIS), None)
            raise

    def last_answer(self) -> Answer:
        """Return the last answer; raises UsageError before there is one."""
        if self._last is None:
            raise UsageError("Nothing has been answered yet.")
        return self._last

    def explain(self, k: int) -> Explanation:
        """Return which words of the last question matched what of the best `k` hits.

        Raises UsageError before there is one.
        """
        search = self.last_answer().search
        assert search.explainer is not None, "a pipeline's own results have one"
        return search.explainer(replace(search, hits=search.hits[:k]))

    def _remember(self, turn: Turn, conversation_id: str | None) -> None:
        known = self.conversation
        self.conversation = Conversation((*known.turns, turn), conversation_id or known.id)
