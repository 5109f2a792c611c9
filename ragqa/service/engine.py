"""One corpus, kept open for many questions at once: pipelines to borrow, models loaded once."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ragqa.answer.models import check_options
from ragqa.config import Config, load_config
from ragqa.corpus.ingest import check_chunking
from ragqa.encoders.device import may_have_accelerator
from ragqa.errors import BusyError, RagqaError, UsageError, sentence, unknown_name
from ragqa.explain.explanation import Explanation, explain
from ragqa.operations.corpus import missing_passages
from ragqa.pipeline import Pipeline, check_question
from ragqa.safety.redaction import redacted
from ragqa.service.events import Done, Found, Given, Note, Said, Stopped, Tell, Text
from ragqa.service.library import LOOK_S, go_on
from ragqa.service.models import Models
from ragqa.service.pools import PIPELINES, PipelinePool, shares
from ragqa.types import Answer, SearchResult

# Questions that are being answered at once; a thread each.
MOST_AT_ONCE = 32
WARMING = "The models are still loading; this question is answered as soon as they are there."
BUSY = "The model is answering another question; this one is next."


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and by what it is to be answered: by the engine's own choice where that is empty."""

    question: str
    config: str = ""
    model: str = ""


class Engine:
    """Searches and asks the corpus at `db` with `configs`, of which the first is the default.

    `model` answers unless a question names another; None: each config's own. Any thread may call.
    """

    def __init__(
        self,
        db: Path | None,
        configs: Sequence[str],
        model: str | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.db = db
        self.model = model
        self.configs: dict[str, Config] = {}
        for name in configs:
            self.configs.setdefault(name, _light(load_config(name)))
        self.models = Models()
        self.problems: dict[str, str] = {}
        self._note = note
        # Configs whose encoders cannot be shared search one at a time, all of them together.
        alone = threading.Semaphore(1)
        self._pools = {
            name: PipelinePool(
                partial(Pipeline.from_config, config, db, note),
                threading.Semaphore(PIPELINES) if shares(config) else alone,
            )
            for name, config in self.configs.items()
        }
        self._warm = {name: threading.Event() for name in self.configs}
        self._asking = threading.Semaphore(MOST_AT_ONCE)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    @property
    def default(self) -> str:
        return next(iter(self.configs))

    @property
    def ready(self) -> bool:
        return all(event.is_set() for event in self._warm.values())

    def check(self, asked: Asked) -> Asked:
        """Return what is asked with its defaults filled in; raises RagqaError for what cannot be."""
        config = asked.config or self.default
        if config not in self.configs:
            raise unknown_name("config", config, self.configs)
        model = asked.model or self.model or self.configs[config].model
        self.models.get(model)
        question = check_question(asked.question, self.configs[config].limits.question)
        return Asked(question, config, model)

    # -- loading ------------------------------------------------------------------------------

    def start(self, on_ready: Callable[[float], None] = lambda seconds: None) -> None:
        """Load the models in the background; `on_ready` is told how many seconds that took."""

        def warm() -> None:
            start = time.perf_counter()
            for name in self.configs:
                try:
                    self._load(name)
                except Exception as error:
                    self.problems[name] = redacted(sentence(error) or f"{type(error).__name__}: {error}")
                    self._note(f"{name}: {self.problems[name]}")
                self._warm[name].set()
            on_ready(time.perf_counter() - start)

        threading.Thread(target=warm, name="ragqa-warm-up", daemon=True).start()

    def _load(self, name: str) -> None:
        """Put one question through everything that a config needs, short of the answer."""
        model = self.models.get(self.model or self.configs[name].model).model(lambda: False)
        with self._pools[name].borrow(lambda: False) as pipeline:
            pipeline.request_for("What is this about?", model, {})

    def _wait(self, config: str, tell: Tell, stopped: Stopped) -> None:
        if self._warm[config].is_set():
            return
        tell(Note(WARMING))
        while not self._warm[config].wait(LOOK_S):
            go_on(stopped)

    # -- questions ----------------------------------------------------------------------------

    def ask(self, asked: Asked, tell: Tell, stopped: Stopped) -> Answer:
        """Return the answer, having told all of it as it came.

        Raises what `Pipeline.ask` raises, BusyError for one question too many, and StoppedError once
        `stopped` says that nobody waits any more: the model is not asked for another piece then.
        """
        if not self._asking.acquire(blocking=False):
            raise BusyError(f"{MOST_AT_ONCE} questions are being answered already. Try again in a moment.")
        try:
            return self._ask(self.check(asked), tell, stopped)
        finally:
            self._asking.release()

    def _ask(self, asked: Asked, tell: Tell, stopped: Stopped) -> Answer:
        served = self.models.get(asked.model)
        model = served.model(stopped)
        self._wait(asked.config, tell, stopped)
        with self._pools[asked.config].borrow(stopped) as pipeline:
            options = check_options(model, pipeline.own_options(asked.model))
            pipeline.prompt_text(model)

            def on_search(result: SearchResult) -> None:
                tell(Found(result))
                go_on(stopped)

            request = pipeline.request_for(asked.question, model, options, on_search=on_search)
        tell(Given(request.context))

        # The pipeline is free again: what needs the corpus is done, and answers come side by side.
        with served.answering(stopped, lambda: tell(Note(BUSY))):
            go_on(stopped)
            answer = request.send(
                log=False,
                note=self._note,
                on_text=lambda piece: tell(Text(piece)),
                on_sentence=lambda piece, check: tell(Said(piece, check)),
            )
        tell(Done(answer))
        return answer

    def search(self, question: str, k: int | None, config: str) -> SearchResult:
        """Return the best `k` passages; raises what `Pipeline.search` raises."""
        with self._borrow(config) as pipeline:
            return pipeline.search(question, k)

    def explain(self, question: str, k: int | None, config: str, document: str | None) -> Explanation:
        """Return which words matched; raises what `ragqa.explain.explanation.explain` raises."""
        with self._borrow(config) as pipeline:
            return explain(pipeline, question, k, document)

    def explain_passages(self, question: str, config: str, passage_ids: Sequence[str]) -> Explanation:
        """Return which words of these passages of one document matched, found or not.

        Raises UsageError when there are no such ones.
        """
        if not passage_ids:
            raise UsageError("No passage is named.")
        document = passage_ids[0].rpartition("#")[0]
        with self._borrow(config) as pipeline:
            explanation = explain(pipeline, question, len(passage_ids), document, passage_ids)
        if not explanation.hits:
            raise UsageError(f"There is no passage {passage_ids[0]!r}.")
        return explanation

    def _borrow(self, config: str) -> AbstractContextManager[Pipeline]:
        name = config or self.default
        if name not in self.configs:
            raise unknown_name("config", name, self.configs)
        self._wait(name, lambda event: None, lambda: False)
        return self._pools[name].borrow(lambda: False)

    # -- status -------------------------------------------------------------------------------

    def states(self) -> list[dict[str, Any]]:
        """Return, by config, whether it is ready, what of it is stale, and the command that mends that."""
        return [self._state(name) for name in self.configs]

    def _state(self, name: str) -> dict[str, Any]:
        state = {
            "name": name,
            "description": self.configs[name].description,
            "ready": self._warm[name].is_set(),
            "stale": {},
            "problem": self.problems.get(name),
            "command": None,
        }
        # What is stale can wait: configs may share what the one that is loading holds.
        if not self.ready:
            return state
        try:
            with self._borrow(name) as pipeline:
                check_chunking(pipeline.corpus, pipeline.config.chunk)
                missing = {part: count for part, count in missing_passages(pipeline).items() if count}
                path = pipeline.corpus.path
        except RagqaError as error:
            return {**state, "problem": str(error)}
        command = f"ragqa index -c {shlex.quote(name)} --db {shlex.quote(str(path))}" if missing else None
        return {**state, "stale": missing, "command": command}


def _light(config: Config) -> Config:
    """Return `config` so that the embedded model never fetches torch, where that would run on the CPU.

    Torch encodes many documents faster, and a server meets few: what was ingested beside it. Loading it
    there costs seconds in the midst of a question and several hundred megabytes from then on.
    """
    on_cpu = config.device == "cpu" or (config.device == "auto" and not may_have_accelerator())
    if on_cpu and config.dtype == "auto" and shares(config):
        return config.model_copy(update={"dtype": "float32"})
    return config
