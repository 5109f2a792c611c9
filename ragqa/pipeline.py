"""A question's way through the configured stages: the one public entry for Python users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ragqa.config import MAX_QUESTION, Config, load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import check_chunking
from ragqa.encoders.device import Compute
from ragqa.errors import UsageError
from ragqa.explain import notebook
from ragqa.files import default_corpus
from ragqa.search.stages import (
    Derived,
    Reranker,
    Resources,
    Retriever,
    check_stages,
    derived_stages,
    make_reranker,
    make_retriever,
    merge,
    needs_no_corpus,
)
from ragqa.timing import timed
from ragqa.types import Answer, Context, Conversation, SearchResult
from ragqa.where import parse_where

if TYPE_CHECKING:
    import llm

    from ragqa.answer.evidence import TokenSource
    from ragqa.answer.limits import TimeLimits
    from ragqa.answer.preparation import Preparation
    from ragqa.answer.request import ModelRequest
    from ragqa.answer.stream import OnSentence, OnText, StreamedAnswer
    from ragqa.explain.explanation import Explanation

notebook.register()


class Pipeline:
    """The stages of one config over one corpus. Models load on first use and stay loaded.

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

    def __init__(
        self, config: Config, corpus: Corpus, note: Callable[[str], None] = lambda text: None
    ) -> None:
        check_stages(config.retrieve, config.rerank)
        compute = Compute(config.device, config.dtype)
        compute.check()
        self.config = config
        self.corpus = corpus
        where = parse_where(config.where) if config.where else None
        self._resources = Resources(corpus, compute, note, config.chunk, where)

    @classmethod
    def from_config(
        cls,
        config: str | Config = "default",
        db: Path | str | None = None,
        note: Callable[[str], None] = lambda text: None,
        *,
        where: str | None = None,
    ) -> Self:
        """Return the pipeline of a config (a shipped name, a path or a Config) over the corpus at `db`.

        `where`, such as "topic = 'sqlite'", takes the place of the config's own condition on metadata.
        Raises RagqaError when there is no such config or corpus, or the condition cannot be read.
        """
        loaded = load_config(config) if isinstance(config, str) else config
        if where is not None:
            loaded = loaded.model_copy(update={"where": where})
        corpus = open_corpus(loaded, db)
        try:
            return cls(loaded, corpus, note)
        except BaseException:
            corpus.close()
            raise

    def close(self) -> None:
        self.corpus.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- stages -------------------------------------------------------------------------------

    @cached_property
    def retriever(self) -> Retriever:
        return make_retriever(self.config.retrieve, self._resources)

    @cached_property
    def reranker(self) -> Reranker:
        return make_reranker(self.config.rerank, self._resources)

    def derived(self) -> dict[str, Derived]:
        """Return the stages that search something made from the corpus, by their types."""
        stages = derived_stages(self.config.retrieve.type, self.retriever)
        merge(stages, derived_stages(self.config.rerank.type, self.reranker))
        return stages

    @cached_property
    def evidence_source(self) -> TokenSource:
        """The token vectors by which sentences are scored: the reranker's, or the embedded encoder's."""
        from ragqa.rerank.colbert import ColbertReranker, ColbertSettings

        reranker = self.reranker
        if not isinstance(reranker, ColbertReranker):
            reranker = ColbertReranker(ColbertSettings(), self._resources)
        return reranker.store

    @cached_property
    def check_source(self) -> TokenSource:
        """The token vectors by which answers are checked: the embedded encoder's, as the check was fitted.

        A corpus indexed with another checkpoint has none of them, and gets none stored.
        """
        from ragqa.answer.evidence import UnstoredTokens
        from ragqa.encoders.embedded import minilm
        from ragqa.encoders.engines import load_encoder
        from ragqa.encoders.tokens import EncoderSettings

        if self.evidence_source.encoder.identity["model"] == minilm.NAME:
            return self.evidence_source
        return UnstoredTokens(load_encoder(EncoderSettings(), self._resources.compute))

    @cached_property
    def preparation(self) -> Preparation:
        """Makes what a model is sent of what was found."""
        from ragqa.answer.preparation import Preparation

        return Preparation(self.config, lambda: self.evidence_source, lambda: self.check_source)

    @property
    def limits(self) -> TimeLimits:
        """How long the config lets a model take."""
        return self.preparation.limits

    def match_expression(self, question: str) -> str:
        """Return what full text is asked; raises UsageError when the first stage is another one."""
        from ragqa.retrieve.fts import FullTextRetriever

        for stage in derived_stages(self.config.retrieve.type, self.retriever).values():
            if isinstance(stage, FullTextRetriever):
                return stage.match_expression(self._checked(question))
        raise UsageError(f"The first stage {self.config.retrieve.type!r} has no match expression.")

    # -- questions ----------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have one question read one state of the corpus, from the first stage to the citations.

        What a first stage lacks is made before; what is written meanwhile is for the next question. Raises
        UsageError for a corpus cut otherwise than the config wants.
        """
        if self.corpus.in_snapshot:
            yield
            return
        check_chunking(self.corpus, self.config.chunk)
        for stage in derived_stages(self.config.retrieve.type, self.retriever).values():
            stage.prepare()
        with self.corpus.snapshot():
            yield

    def search(self, question: str, k: int | None = None) -> SearchResult:
        """Return the best `k` passages (the config's `k` by default).

        Raises UsageError for an empty or endless question, and for a corpus cut otherwise than the
        config wants.
        """
        question = self._checked(question)
        with self.snapshot():
            return self.rerank(self.candidates(question, k), k)

    def candidates(self, question: str, k: int | None = None) -> SearchResult:
        """Return what the first stage finds: as many passages as the second is to put in order for `k`.

        Raises what `search` raises.
        """
        question = self._checked(question)
        check_chunking(self.corpus, self.config.chunk)
        timings: dict[str, float] = {}
        with timed(timings, self.config.retrieve.type):
            hits = self.retriever.search(question, max(k or self.config.k, self.config.candidates))
        return SearchResult(question, self.config.name, tuple(hits), timings)

    def rerank(self, found: SearchResult, k: int | None = None) -> SearchResult:
        """Return the best `k` of the candidates `found`, in the second stage's order."""
        k = k or self.config.k
        timings = dict(found.timings_ms)
        hits = found.hits[:k]
        if self.config.rerank.type != "none":
            with timed(timings, self.config.rerank.type):
                hits = tuple(self.reranker.rerank(found.question, found.hits, k))
        return SearchResult(found.question, self.config.name, hits, timings, found.hits, self.explain)

    def explain(self, result: SearchResult) -> Explanation:
        """Return which words of the question matched which of each hit's, and which stage moved it where."""
        from ragqa.explain.explanation import explain_result

        return explain_result(self, result)

    def context(self, question: str, model: str | None = None) -> tuple[SearchResult, Context]:
        """Return the search and the context that `model` would be given; without one, a roomy context."""
        from ragqa.answer.models import ROOMY_FIT, find_model, fit

        fitting = fit(find_model(model)) if model else ROOMY_FIT
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
        question = self._checked(question)
        # What can be wrong with the request is said before anything is searched.
        chosen, settings = self.model(model, options)
        request = self.request_for(question, chosen, settings, conversation=conversation, on_search=on_search)
        return request.send(log=log, note=self._resources.note, on_text=on_text, on_sentence=on_sentence)

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
        from ragqa.answer.stream import StreamedAnswer

        chosen, settings = self.model(model, options)
        request = self.request_for(question, chosen, settings, conversation=conversation)
        return StreamedAnswer(request.stream(log=log, note=self._resources.note))

    def follow_up(
        self, question: str, *, model: str | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, Conversation]:
        """Return a follow-up to the last question in llm's log as one that stands alone, and what was said.

        Raises UsageError when nothing is logged.
        """
        from ragqa.answer.conversation import last_conversation, stand_alone

        question = self._checked(question)
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

    def request_for(
        self,
        question: str,
        model: llm.Model,
        options: Mapping[str, Any],
        *,
        conversation: Conversation | None = None,
        on_search: Callable[[SearchResult], None] = lambda result: None,
    ) -> ModelRequest:
        """Return what `model` is to be sent for `question`: everything that the corpus is needed for.

        All of it is read from one state of the corpus. `on_search` is told the hits. Raises what `search`
        and `request` raise.
        """
        with self.snapshot():
            result = self.search(question)
            on_search(result)
            return self.request(result, model, options, conversation=conversation)

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

    def _checked(self, question: str) -> str:
        return check_question(question, self.config.limits.question)


def open_corpus(config: Config, db: Path | str | None) -> Corpus:
    """Return the corpus at `db` (the user's own by default).

    A config whose first stage searches elsewhere needs none, and gets an empty one unless `db` names one.
    """
    if db is None and needs_no_corpus(config.retrieve):
        return Corpus.temporary()
    return Corpus.open(default_corpus() if db is None else db)


def check_question(question: str, longest: int = MAX_QUESTION) -> str:
    """Return `question` without white space around it; raises UsageError when it is empty or too long."""
    question = question.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").strip()
    if not question:
        raise UsageError("The question is empty.")
    if len(question) > longest:
        raise UsageError(f"The question is {len(question):,} characters long; at most {longest:,} are read.")
    return question
