"""A question's way through the configured stages: the one public entry for Python users."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ragqa.explain import notebook
from ragqa.search.one import Searcher
from ragqa.types import Answer, Context, Conversation, SearchResult

if TYPE_CHECKING:
    import llm

    from ragqa.answer.events import Event, OnSentence, OnText
    from ragqa.answer.limits import TimeLimits
    from ragqa.answer.preparation import Preparation
    from ragqa.answer.request import ModelRequest
    from ragqa.answer.stream import StreamedAnswer
    from ragqa.explain.explanation import Explanation
    from ragqa.index.token_store import TokenSource

notebook.register()


class Pipeline(Searcher):
    """A Searcher whose passages a model answers from: the stages of one config over one corpus.

    Models load on first use and stay loaded.

    `note` is told things worth knowing that are no errors, such as vectors being made on the fly. One
    thread at a time may use it.

    >>> from ragqa import Pipeline
    >>> with Pipeline.from_config("default", db="notes.db") as pipeline:
    ...     result = pipeline.search("How many grams of beans for one litre of water?", k=1)
    ...     answer = pipeline.ask("How many grams of beans for one litre of water?", model="extractive")
    >>> result.hits[0].passage.title
    'Making coffee'
    >>> print(answer.text)
    Use 60 grams of beans for one litre of water. [1]
    >>> [(citation.number, citation.passage.id) for citation in answer.citations]
    [(1, 'coffee.md#0')]
    >>> [sentence.verdict for sentence in answer.sentences]
    ['supported']
    """

    @cached_property
    def evidence_source(self) -> TokenSource:
        """The token vectors by which sentences are scored: the reranker's, or the embedded encoder's."""
        from ragqa.index.token_store import TokenSettings
        from ragqa.search.stores import token_store

        stage = self.late_interaction()
        return token_store(TokenSettings(), self.resources) if stage is None else stage.token_source

    @cached_property
    def check_source(self) -> TokenSource:
        """The token vectors by which answers are checked: those of a model that the check was fitted to.

        A corpus indexed with another one has none of them: the default model makes them, and none is stored.
        """
        from ragqa.encoders.embedded.catalogue import fitted_to
        from ragqa.encoders.engines import load_encoder
        from ragqa.encoders.tokens import EncoderSettings
        from ragqa.index.token_store import UnstoredTokens

        if fitted_to(self.evidence_source.encoder.identity) is not None:
            return self.evidence_source
        return UnstoredTokens(load_encoder(EncoderSettings(), self.resources.compute))

    @cached_property
    def preparation(self) -> Preparation:
        """Makes what a model is sent of what was found."""
        from ragqa.answer.preparation import Preparation

        return Preparation(self.config, lambda: self.evidence_source, lambda: self.check_source)

    @property
    def limits(self) -> TimeLimits:
        """How long the config lets a model take."""
        return self.preparation.limits

    # -- questions ----------------------------------------------------------------------------

    def rerank(self, found: SearchResult, k: int | None = None) -> SearchResult:
        return replace(super().rerank(found, k), explainer=self.explain)

    def explain(self, result: SearchResult) -> Explanation:
        """Return which words of the question matched which of each hit's, and which stage moved it where."""
        from ragqa.explain.explanation import explain_result

        return explain_result(self, result)

    def context(self, question: str, model: str | None = None) -> tuple[SearchResult, Context]:
        """Return the search and the context that `model` would be given; without one, a roomy context."""
        from ragqa.answer.models import ROOMY_FIT, find_model, prepare_model

        fitting = prepare_model(find_model(model)) if model else ROOMY_FIT
        with self.snapshot():
            result = self.search(question)
            return result, self.preparation.context(result, fitting, model or "the model")

    def ask(
        self,
        question: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        conversation: Conversation | None = None,
        log: bool = True,
        on_search: Callable[[SearchResult], None] = lambda result: None,
        on_text: OnText = lambda text: None,
        on_sentence: OnSentence = lambda text, check: None,
    ) -> Answer:
        """Return `model`'s answer (the config's by default) from the passages found.

        The question stands alone; `conversation` is what was said before it. `on_search` is told the hits
        before the model is called, `on_text` each piece of the answer, `on_sentence` each sentence with
        its check, where the config wants answers checked; a refusal without asking the model is told to it
        always, without a check. Raises RagqaError when the model fails.
        """
        from ragqa.answer.events import Found, Said, Text, fold

        def tell(event: Event) -> None:
            match event:
                case Found(result):
                    on_search(result)
                case Text(piece):
                    on_text(piece)
                case Said(piece, check):
                    on_sentence(piece, check)

        events = self.events(question, model=model, options=options, conversation=conversation, log=log)
        return fold(events, tell)

    def events(
        self,
        question: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        conversation: Conversation | None = None,
        log: bool = True,
    ) -> Generator[Event, None, None]:
        """Yield what happens while a question is answered; raises what `ask` raises, while iterating."""
        question = self.checked(question)
        # What can be wrong with the request is said before anything is searched.
        chosen, settings = self.model(model, options)
        request = yield from self.preparing(question, chosen, settings, conversation=conversation)
        yield from request.events(log=log, note=self.resources.note)

    def stream(
        self,
        question: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        conversation: Conversation | None = None,
        log: bool = True,
    ) -> StreamedAnswer:
        """Return `model`'s answer as it comes: an iterator over its pieces, whose `answer` is the whole.

        The search is done when this returns. Raises what `ask` raises, some of it while iterating.
        """
        from ragqa.answer.events import Given
        from ragqa.answer.stream import StreamedAnswer

        events = self.events(question, model=model, options=options, conversation=conversation, log=log)
        # Up to the model, which is asked for nothing yet.
        while not isinstance(next(events), Given):
            pass
        return StreamedAnswer(events)

    def follow_up(
        self, question: str, *, model: str | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, Conversation]:
        """Return a follow-up to the last question in llm's log as one that stands alone, and what was said.

        Raises UsageError when nothing is logged.
        """
        from ragqa.answer.conversation import last_conversation, stand_alone

        question = self.checked(question)
        conversation = last_conversation()
        chosen, settings = self.model(model, options)
        return stand_alone(question, conversation, chosen, settings, self.limits), conversation

    def model(
        self, name: str | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[llm.Model, dict[str, Any]]:
        """Return the model called `name` (the config's by default) and its options, both checked.

        Raises UsageError for an unknown model, option or prompt.
        """
        from ragqa.answer.models import check_options, find_model

        chosen = find_model(name or self.config.model)
        self.preparation.prompt_text(chosen)
        return chosen, check_options(chosen, self.own_options(name) if options is None else options)

    def own_options(self, model: str | None) -> Mapping[str, Any]:
        """Return the config's options: they are for the config's model, and another one gets none."""
        return self.config.options if model in (None, self.config.model) else {}

    def preparing(
        self,
        question: str,
        model: llm.Model,
        options: Mapping[str, Any],
        *,
        conversation: Conversation | None = None,
    ) -> Generator[Event, None, ModelRequest]:
        """Yield `Found` and `Given`, and return what `model` is to be sent for `question`.

        That is everything that the corpus is needed for, read from one state of it. Raises what `search` and
        `request` raise.
        """
        from ragqa.answer.events import Found, Given

        with self.snapshot():
            result = self.search(question)
            yield Found(result)
            request = self.request(result, model, options, conversation=conversation)
        yield Given(request.context)
        return request

    def request(
        self,
        result: SearchResult,
        model: llm.Model,
        options: Mapping[str, Any],
        *,
        conversation: Conversation | None = None,
        check: bool | None = None,
    ) -> ModelRequest:
        """Return what `model` is to be sent for `result`: the prompt with the context in it.

        `check` says whether the answer will be checked, instead of the config.
        """
        checked = self.config.check if check is None else check
        return self.preparation.request(result, model, options, conversation or Conversation(), checked)

    def prompt_text(self, model: llm.Model) -> str:
        """Return the prompt that `model` is sent, before question and context are filled in."""
        return self.preparation.prompt_text(model)
