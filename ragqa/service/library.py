"""A corpus kept open for whoever asks it again and again, from any thread: MCP, llm's tools, the web.

A question borrows a pipeline while it needs the corpus, for some milliseconds, and a model while that
answers. Nobody else's answer waits for the corpus meanwhile.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.answer.events import drain, fold
from ragqa.answer.models import check_options
from ragqa.config import Config, load_config, shipped_configs
from ragqa.encoders.device import may_have_accelerator
from ragqa.errors import RagqaError, UsageError, unknown_name
from ragqa.explain.explanation import explain
from ragqa.operations.corpus import corpus_status
from ragqa.pipeline import Pipeline
from ragqa.search.one import check_question
from ragqa.service import reading
from ragqa.service.events import Event, Note, Stopped, Tell, go_on
from ragqa.service.models import Models
from ragqa.service.pools import PIPELINES, PipelinePool, shares
from ragqa.service.reading import Extract
from ragqa.types import Answer, Document, SearchResult

if TYPE_CHECKING:
    from ragqa.explain.explanation import Explanation

MOST_HITS = 50
BUSY = "The model is answering another question; this one is next."


def never() -> bool:
    """Say, as a Stopped, that somebody waits."""
    return False


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and by what it is to be answered: by the library's own choice where that is empty."""

    question: str
    config: str = ""
    model: str = ""


class Library:
    """The corpus at `db` (the user's own by default), searched by `config` unless a question names another.

    `others` are the configs that it may name besides; None: those that ship. `model` answers unless a
    question names another one; None: the config's own. With `log` answers are shown by `llm logs`. Files are
    opened by the first question that needs them, and again when they were replaced, so that a library may be
    made before its corpus. Pipelines and models stay loaded until `close`.
    """

    def __init__(
        self,
        db: Path | str | None = None,
        config: str = "default",
        note: Callable[[str], None] = lambda text: None,
        *,
        others: Iterable[str] | None = None,
        model: str | None = None,
        log: bool = True,
    ) -> None:
        self.db = db
        self.default = config
        self.configs = tuple(dict.fromkeys([config, *(shipped_configs() if others is None else others)]))
        self.model = model
        self.models = Models()
        self._note = note
        self._log = log
        self._loaded: dict[str, Config] = {}
        self._pools: dict[str, PipelinePool] = {}
        self._opening = threading.Lock()
        # Configs whose encoders cannot be shared search one at a time, all of them together.
        self._alone = threading.Semaphore(1)
        self._finalizer = weakref.finalize(self, _close, self._pools)

    def close(self) -> None:
        with self._opening:
            self._finalizer()

    def config(self, name: str = "") -> Config:
        """Return the config called `name`, or the default one; raises RagqaError for one not to be named.

        A question may come from a model that has read documents, and is not to open files of their choice.
        """
        name = name or self.default
        if name not in self.configs:
            raise unknown_name("config", name, self.configs)
        if name not in self._loaded:
            self._loaded[name] = _light(load_config(name))
        return self._loaded[name]

    @contextmanager
    def borrow(
        self, config: str = "", tell: Tell = lambda event: None, stopped: Stopped = never
    ) -> Iterator[Pipeline]:
        """Lend a pipeline of a config for the block; `tell` is told why it takes a while, if it does."""
        with self._pool(config or self.default).borrow(stopped) as pipeline:
            yield pipeline

    def _pool(self, name: str) -> PipelinePool:
        config = self.config(name)
        with self._opening:
            if name not in self._pools:
                slots = threading.Semaphore(PIPELINES) if shares(config) else self._alone
                opener = partial(Pipeline.from_config, config, self.db, self._note)
                self._pools[name] = PipelinePool(opener, slots)
            return self._pools[name]

    def check(self, asked: Asked) -> Asked:
        """Return what is asked with its defaults filled in; raises RagqaError for what cannot be."""
        config = self.config(asked.config)
        model = asked.model or self.model or config.model
        self.models.get(model)
        question = check_question(asked.question, config.limits.question)
        return Asked(question, asked.config or self.default, model)

    # -- questions ----------------------------------------------------------------------------

    def ask(self, asked: Asked, tell: Tell = lambda event: None, stopped: Stopped = never) -> Answer:
        """Return the answer, having told all of it as it came.

        Raises what `Pipeline.ask` raises, and StoppedError once `stopped` says that nobody waits any more:
        the model is not asked for another piece then.
        """

        def told(event: Event) -> None:
            tell(event)
            go_on(stopped)

        asked = self.check(asked)
        served = self.models.get(asked.model)
        model = served.model(stopped)
        with self.borrow(asked.config, tell, stopped) as pipeline:
            options = check_options(model, pipeline.own_options(asked.model))
            pipeline.prompt_text(model)
            request = drain(pipeline.preparing(asked.question, model, options), told)
        # The pipeline is free again: what needs the corpus is done.
        try:
            with served.answering(stopped, lambda: tell(Note(BUSY))):
                go_on(stopped)
                return fold(request.events(log=self._log, note=self._note), tell)
        except RagqaError:
            # A model that was told to stop has failed, and that is why.
            go_on(stopped)
            raise

    def search(
        self, question: str, k: int | None = None, config: str = "", *, stopped: Stopped = never
    ) -> SearchResult:
        """Return the best `k` passages; raises what `Pipeline.search` raises, and StoppedError as `ask`."""
        if k is not None and not 1 <= k <= MOST_HITS:
            raise UsageError(f"k is {k:,}, and it must be from 1 to {MOST_HITS}.")
        with self.borrow(config, stopped=stopped) as pipeline:
            go_on(stopped)
            return pipeline.search(question, k)

    def explain(
        self, question: str, k: int | None, config: str = "", document: str | None = None
    ) -> Explanation:
        """Return which words matched; raises what `ragqa.explain.explanation.explain` raises."""
        with self.borrow(config) as pipeline:
            return explain(pipeline, question, k, document)

    def explain_passages(self, question: str, config: str, passage_ids: Sequence[str]) -> Explanation:
        """Return which words of these passages of one document matched, found or not.

        Raises UsageError when there are no such ones.
        """
        if not passage_ids:
            raise UsageError("No passage is named.")
        document = passage_ids[0].rpartition("#")[0]
        with self.borrow(config) as pipeline:
            explanation = explain(pipeline, question, len(passage_ids), document, passage_ids)
        if not explanation.hits:
            raise UsageError(f"There is no passage {passage_ids[0]!r}.")
        return explanation

    # -- documents ----------------------------------------------------------------------------

    def read(self, document_id: str, offset: int | None = None) -> Extract:
        """Return a page of a document; raises what `reading.read` raises."""
        return reading.read(self.db, document_id, offset)

    def document(self, document_id: str) -> Document:
        """Return a whole document; raises UsageError when there is no such one."""
        with reading.reading(self.db) as corpus:
            return reading.find_document(corpus, document_id)[0]

    def documents(self, after: str, count: int) -> list[tuple[str, str]]:
        """Return ids and titles of up to `count` documents, those whose ids come next after `after`."""
        query = "SELECT id, title FROM documents WHERE id > ? ORDER BY id LIMIT ?"
        with reading.reading(self.db) as corpus:
            return [(row[0], row[1]) for row in corpus.connection.execute(query, [after, count])]

    def status(self) -> dict[str, Any]:
        """Return what the corpus holds, in the documented form of `status --json`."""
        with reading.reading(self.db) as corpus:
            return corpus_status(corpus)


def _close(pools: dict[str, PipelinePool]) -> None:
    while pools:
        pools.popitem()[1].close()


def _light(config: Config) -> Config:
    """Return `config` so that the embedded model never fetches torch, where that would run on the CPU.

    Torch encodes many documents faster, and whoever is asked meets few: what was ingested beside it. Loading
    it there costs seconds in the midst of a question and several hundred megabytes from then on.
    """
    on_cpu = config.device == "cpu" or (config.device == "auto" and not may_have_accelerator())
    if on_cpu and config.dtype == "auto" and shares(config):
        return config.model_copy(update={"dtype": "float32"})
    return config
