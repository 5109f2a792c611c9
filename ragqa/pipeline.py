"""A question's way through the configured stages: the one public entry for Python users."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ragqa.config import Config, load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import check_chunking
from ragqa.device import Compute
from ragqa.errors import NothingFoundError, UsageError
from ragqa.files import default_corpus
from ragqa.stages import (
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
from ragqa.types import Answer, Context, SearchResult

if TYPE_CHECKING:
    import llm
    from llm import Template

    from ragqa.answer.evidence import EvidenceReader
    from ragqa.answer.extractive import Candidate
    from ragqa.answer.models import Fit
    from ragqa.answer.request import ModelRequest
    from ragqa.colbert.store import TokenStore

MAX_QUESTION_CHARACTERS = 10_000


class Pipeline:
    """The stages of one config over one corpus. Models load on first use and stay loaded.

    `note` is told things worth knowing that are no errors, such as vectors being made on the fly.
    """

    def __init__(
        self, config: Config, corpus: Corpus, note: Callable[[str], None] = lambda text: None
    ) -> None:
        check_stages(config.retrieve, config.rerank)
        compute = Compute(config.device, config.dtype)
        compute.check()
        self.config = config
        self.corpus = corpus
        self._resources = Resources(corpus, compute, note, config.chunk)
        self._templates: dict[str, Template] = {}

    @classmethod
    def from_config(cls, config: str | Config = "default", db: Path | str | None = None) -> Self:
        """Return the pipeline of a config (a shipped name, a path or a Config) over the corpus at `db`.

        Raises RagqaError when there is no such config or corpus.
        """
        loaded = load_config(config) if isinstance(config, str) else config
        return cls(loaded, open_corpus(loaded, db))

    def close(self) -> None:
        self.corpus.close()

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
    def evidence_store(self) -> TokenStore:
        """The token vectors by which sentences are scored: the reranker's, or the embedded encoder's."""
        from ragqa.rerank.colbert import ColbertReranker, ColbertSettings

        reranker = self.reranker
        if not isinstance(reranker, ColbertReranker):
            reranker = ColbertReranker(ColbertSettings(), self._resources)
        return reranker.store

    def match_expression(self, question: str) -> str:
        """Return what full text is asked; raises UsageError when the first stage is another one."""
        from ragqa.retrieve.fts import FullTextRetriever

        for stage in derived_stages(self.config.retrieve.type, self.retriever).values():
            if isinstance(stage, FullTextRetriever):
                return stage.match_expression(check_question(question))
        raise UsageError(f"The first stage {self.config.retrieve.type!r} has no match expression.")

    # -- questions ----------------------------------------------------------------------------

    def search(self, question: str, k: int | None = None) -> SearchResult:
        """Return the best `k` passages (the config's `k` by default).

        Raises UsageError for an empty or endless question, and for a corpus cut otherwise than the
        config wants.
        """
        return self.rerank(self.candidates(question, k), k)

    def candidates(self, question: str, k: int | None = None) -> SearchResult:
        """Return what the first stage finds: as many passages as the second is to put in order for `k`.

        Raises what `search` raises.
        """
        question = check_question(question)
        check_chunking(self.corpus, self.config.chunk)
        timings: dict[str, float] = {}
        with _timed(timings, self.config.retrieve.type):
            hits = self.retriever.search(question, max(k or self.config.k, self.config.candidates))
        return SearchResult(question, self.config.name, tuple(hits), timings)

    def rerank(self, found: SearchResult, k: int | None = None) -> SearchResult:
        """Return the best `k` of the candidates `found`, in the second stage's order."""
        k = k or self.config.k
        timings = dict(found.timings_ms)
        hits = found.hits[:k]
        if self.config.rerank.type != "none":
            with _timed(timings, self.config.rerank.type):
                hits = tuple(self.reranker.rerank(found.question, found.hits, k))
        return SearchResult(found.question, self.config.name, hits, timings)

    def context(self, question: str, model: str | None = None) -> tuple[SearchResult, Context]:
        """Return the search and the context that `model` would be given; without one, a roomy context."""
        from ragqa.answer.models import ROOMY_FIT, find_model, fit

        fitting = fit(find_model(model)) if model else ROOMY_FIT
        result = self.search(question)
        room = _room(fitting, question, model or "the model")
        return result, self._context(result, fitting, room, self._evidence_reader())

    def ask(
        self,
        question: str,
        *,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        log: bool = True,
        on_search: Callable[[SearchResult], None] = lambda result: None,
        on_text: Callable[[str], None] = lambda text: None,
    ) -> Answer:
        """Return `model`'s answer (the config's by default) from the passages found.

        `on_search` is told the hits before the model is called, `on_text` each piece of the answer.
        Raises RagqaError when there is nothing to answer from or the model fails.
        """
        question = check_question(question)
        # What can be wrong with the request is said before anything is searched.
        chosen, settings = self.model(model, options)
        result = self.search(question)
        on_search(result)
        request = self.request(result, chosen, settings)
        return request.send(log=log, note=self._resources.note, on_text=on_text)

    def model(
        self, name: str | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[llm.Model, dict[str, Any]]:
        """Return the model called `name` (the config's by default) and its options, both checked.

        Raises UsageError for an unknown model, option or prompt.
        """
        from ragqa.answer.models import check_options, find_model, fit

        chosen = find_model(name or self.config.model)
        self._prompt(fit(chosen))
        return chosen, check_options(chosen, self.own_options(name) if options is None else options)

    def own_options(self, model: str | None) -> Mapping[str, Any]:
        """Return the config's options: they are for the config's model, and another one gets none."""
        return self.config.options if model in (None, self.config.model) else {}

    def request(self, result: SearchResult, model: llm.Model, options: Mapping[str, Any]) -> ModelRequest:
        """Return what `model` is to be sent for `result`: the prompt with the context in it.

        Raises NothingFoundError when there are no hits to answer from.
        """
        from ragqa.answer.models import fit
        from ragqa.answer.prompts import render_prompt
        from ragqa.answer.request import ModelRequest

        if not result.hits:
            raise NothingFoundError(
                "No passage has anything to do with this question, so no model was asked."
            )
        fitting = fit(model)
        template = self._prompt(fitting)
        timings = dict(result.timings_ms)
        with _timed(timings, "context"):
            bare = render_prompt(template, result.question, "")
            room = _room(fitting, f"{bare.system or ''}\n{bare.text}", model.model_id)
            reader = self._evidence_reader()
            context = self._context(result, fitting, room, reader)
            candidates = self._scored_sentences(model, result.question, context, reader)
        prompt = render_prompt(template, result.question, context.text)
        return ModelRequest(
            search=result,
            context=context,
            model=model,
            prompt=prompt,
            options=options,
            timings_ms=timings,
            count=None if fitting.window is None else fitting.count,
            candidates=candidates,
        )

    def prompt_text(self, model: llm.Model) -> str:
        """Return the prompt that `model` is sent, before question and context are filled in."""
        from ragqa.answer.models import fit

        template = self._prompt(fit(model))
        return "\n".join(part for part in (template.system, template.prompt) if part)

    def _prompt(self, fitting: Fit) -> Template:
        from ragqa.answer.prompts import load_prompt

        name = fitting.prompt if self.config.prompt == "auto" else self.config.prompt
        if name not in self._templates:
            self._templates[name] = load_prompt(name)
        return self._templates[name]

    def _evidence_reader(self) -> EvidenceReader:
        from ragqa.answer.evidence import EvidenceReader

        return EvidenceReader(lambda: self.evidence_store)

    def _context(
        self, result: SearchResult, fitting: Fit, room: int | None, reader: EvidenceReader
    ) -> Context:
        from ragqa.answer.context import Budget, assemble, assemble_sentences

        wanted = self.config.context
        tokens = fitting.context_tokens if wanted.tokens == "auto" else wanted.tokens
        budget = Budget(tokens if room is None else min(tokens, room), wanted.passages, fitting.count)
        select = fitting.select if wanted.select == "auto" else wanted.select
        if select == "sentences":
            return assemble_sentences(result.hits, budget, result.question, reader.rank)
        return assemble(result.hits, budget)

    def _scored_sentences(
        self, model: llm.Model, question: str, context: Context, reader: EvidenceReader
    ) -> Sequence[Candidate] | None:
        """Return the sentences scored from stored vectors, so that `extractive` encodes nothing again."""
        from ragqa.answer.context import whole
        from ragqa.answer.extractive import Candidate, Extractive

        if not isinstance(model, Extractive):
            return None
        ranked = reader.rank(question, [whole(block) for block in context.blocks])
        return [
            Candidate(block.number, sentence.text, sentence.score)
            for block, sentences in zip(context.blocks, ranked, strict=True)
            for sentence in sentences
            if sentence.text in block.text
        ]


def open_corpus(config: Config, db: Path | str | None) -> Corpus:
    """Return the corpus at `db` (the user's own by default).

    A config whose first stage searches elsewhere needs none, and gets an empty one unless `db` names one.
    """
    if db is None and needs_no_corpus(config.retrieve):
        return Corpus.temporary()
    return Corpus.open(default_corpus() if db is None else db)


def check_question(question: str) -> str:
    """Return `question` without surrounding white space; raises UsageError when it is empty or endless."""
    question = question.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").strip()
    if not question:
        raise UsageError("The question is empty.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise UsageError(
            f"The question is {len(question):,} characters long; "
            f"at most {MAX_QUESTION_CHARACTERS:,} are read."
        )
    return question


def _room(fitting: Fit, prompt_without_context: str, model: str) -> int | None:
    """Return how many tokens of context fit beside the prompt and an answer; None where no window is known.

    Raises UsageError when there is no room.
    """
    from ragqa.answer.models import ANSWER_TOKENS, CHAT_TOKENS

    if fitting.window is None:
        return None
    room = fitting.window - ANSWER_TOKENS - CHAT_TOKENS - fitting.count(prompt_without_context)
    if room < 64:
        raise UsageError(
            f"The question is too long for {model}, which reads {fitting.window:,} tokens in all."
        )
    return room


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = round((time.perf_counter() - start) * 1000, 2)
