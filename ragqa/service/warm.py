"""A library that loads its models before the first question and says how it is: `ragqa serve` serves one."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragqa.corpus.ingest import check_chunking
from ragqa.errors import BusyError, RagqaError, sentence
from ragqa.operations.corpus import missing_passages
from ragqa.pipeline import Pipeline
from ragqa.safety.redaction import redacted
from ragqa.service.events import Note, Stopped, Tell, go_on
from ragqa.service.library import Asked, Library, never
from ragqa.service.waiting import LOOK_S
from ragqa.types import Answer

# Questions that are being answered at once; a thread each.
MOST_AT_ONCE = 32
WARMING = "The models are still loading; this question is answered as soon as they are there."


class WarmLibrary(Library):
    """The corpus at `db`, searched with `configs` alone, the first being the default; nothing is logged.

    Raises RagqaError for a config that is not there or wrong.
    """

    def __init__(
        self,
        db: Path | str | None,
        configs: Sequence[str],
        model: str | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(db, configs[0], note, others=configs[1:], model=model, log=False)
        for name in self.configs:
            self.config(name)
        self.problems: dict[str, str] = {}
        self._warm = {name: threading.Event() for name in self.configs}
        self._asking = threading.Semaphore(MOST_AT_ONCE)

    @property
    def ready(self) -> bool:
        return all(event.is_set() for event in self._warm.values())

    @contextmanager
    def borrow(
        self, config: str = "", tell: Tell = lambda event: None, stopped: Stopped = never
    ) -> Iterator[Pipeline]:
        self.config(config)
        warm = self._warm[config or self.default]
        if not warm.is_set():
            tell(Note(WARMING))
            while not warm.wait(LOOK_S):
                go_on(stopped)
        with super().borrow(config, tell, stopped) as pipeline:
            yield pipeline

    def ask(self, asked: Asked, tell: Tell = lambda event: None, stopped: Stopped = never) -> Answer:
        """Return the answer; raises what `Library.ask` raises, and BusyError for one question too many."""
        if not self._asking.acquire(blocking=False):
            raise BusyError(f"{MOST_AT_ONCE} questions are being answered already. Try again in a moment.")
        try:
            return super().ask(asked, tell, stopped)
        finally:
            self._asking.release()

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
        model = self.models.get(self.model or self.config(name).model).model(never)
        with super().borrow(name) as pipeline:
            for _ in pipeline.preparing("What is this about?", model, {}):
                pass

    # -- status -------------------------------------------------------------------------------

    def states(self) -> list[dict[str, Any]]:
        """Return, by config, whether it is ready, what of it is stale, and the command that mends that."""
        return [self._state(name) for name in self.configs]

    def _state(self, name: str) -> dict[str, Any]:
        state = {
            "name": name,
            "description": self.config(name).description,
            "ready": self._warm[name].is_set(),
            "stale": {},
            "problem": self.problems.get(name),
            "command": None,
        }
        # What is stale can wait: configs may share what the one that is loading holds.
        if not self.ready:
            return state
        try:
            with self.borrow(name) as pipeline:
                check_chunking(pipeline.corpus, pipeline.config.chunk)
                missing = {part: count for part, count in missing_passages(pipeline).items() if count}
                path = pipeline.corpus.path
        except RagqaError as error:
            return {**state, "problem": str(error)}
        command = f"ragqa index -c {shlex.quote(name)} --db {shlex.quote(str(path))}" if missing else None
        return {**state, "stale": missing, "command": command}
