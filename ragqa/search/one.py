"""One question's way to its passages: the first stage, then the second, in one state of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ragqa.config import MAX_QUESTION, Config, StageSettings, load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import check_chunking
from ragqa.encoders.device import Compute
from ragqa.errors import UsageError
from ragqa.files import default_corpus
from ragqa.search.contracts import (
    Derived,
    FullText,
    LateInteraction,
    LoadsAhead,
    Reranker,
    Resources,
    Retriever,
    derived_stages,
    merge,
)
from ragqa.search.registry import check_stages, make_reranker, make_retriever, needs_no_corpus
from ragqa.timing import timed
from ragqa.types import SearchResult
from ragqa.where import parse_where


class Searcher:
    """The stages of one config over one corpus. Models load on first use and stay loaded.

    `note` is told things worth knowing that are no errors, such as vectors being made on the fly. One
    thread at a time may use it.
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
        self.resources = Resources(corpus, compute, note, config.chunk, where)

    @classmethod
    def from_config(
        cls,
        config: str | Config = "default",
        db: Path | str | None = None,
        note: Callable[[str], None] = lambda text: None,
        *,
        where: str | None = None,
    ) -> Self:
        """Return the stages of a config (a shipped name, a path or a Config) over the corpus at `db`.

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
        return make_retriever(self.config.retrieve, self.resources)

    @cached_property
    def reranker(self) -> Reranker:
        return make_reranker(self.config.rerank, self.resources)

    def derived(self) -> dict[str, Derived]:
        """Return the stages that search something made from the corpus, by their types."""
        stages = derived_stages(self.config.retrieve.type, self.retriever)
        merge(stages, derived_stages(self.config.rerank.type, self.reranker))
        return stages

    def match_expression(self, question: str) -> str:
        """Return what full text is asked; raises UsageError when the first stage is another one."""
        for stage in derived_stages(self.config.retrieve.type, self.retriever).values():
            if isinstance(stage, FullText):
                return stage.match_expression(self.checked(question))
        raise UsageError(f"The first stage {self.config.retrieve.type!r} has no match expression.")

    def late_interaction(self) -> LateInteraction | None:
        """Return the second stage where it scores by token vectors."""
        return self.reranker if isinstance(self.reranker, LateInteraction) else None

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
        question = self.checked(question)
        with self.snapshot():
            return self.rerank(self.candidates(question, k), k)

    def candidates(self, question: str, k: int | None = None) -> SearchResult:
        """Return what the first stage finds: as many passages as the second is to put in order for `k`.

        Raises what `search` raises.
        """
        question = self.checked(question)
        check_chunking(self.corpus, self.config.chunk)
        timings: dict[str, float] = {}
        if isinstance(self.reranker, LoadsAhead):
            self.reranker.load_ahead()
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
        return SearchResult(found.question, self.config.name, hits, timings, found.hits)

    def checked(self, question: str) -> str:
        """Return what `check_question` makes of a question, with the config's limit."""
        return check_question(question, self.config.limits.question)

    # -- what is searched ---------------------------------------------------------------------

    def searches_elsewhere(self) -> bool:
        """Tell whether all that is searched is no part of the corpus."""
        return needs_no_corpus(self.config.retrieve)

    def fingerprint(self) -> str:
        """Return what tells one state of the documents that are searched from another.

        Of somebody else's database that is its path, size and time, because it may be of any size.
        """
        databases = []
        for path in _databases(self.config.retrieve):
            with suppress(OSError):
                about = path.stat()
                databases.append(f" {path}:{about.st_size}:{about.st_mtime_ns}")
        return self.corpus.fingerprint() + "".join(databases)


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


def _databases(stage: StageSettings) -> list[Path]:
    """Return the databases that a first stage, or one that it is made of, reads in place."""

    def walk(value: Any) -> list[Path]:
        if isinstance(value, Mapping):
            own = [Path(str(value["database"])).expanduser()] if value.get("database") else []
            return own + [path for inner in value.values() for path in walk(inner)]
        return [path for inner in value for path in walk(inner)] if isinstance(value, list | tuple) else []

    return walk(stage.model_dump())
