"""The models that answer, each loaded once, and who may use them when.

A model that runs in this process may not be used by two threads at once: a llama.cpp model has one
context, which a second answer would overwrite. One copy per question would cost hundreds of megabytes,
so such a model has a lock, and the second question waits. `extractive` has nothing loaded and keeps the
sentences of its question, so that each question gets one of its own. Models behind HTTP keep nothing of a
question and serve all.
"""

from __future__ import annotations

import copy
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragqa.answer.extractive import MODEL_ID as EXTRACTIVE
from ragqa.answer.extractive import Extractive
from ragqa.answer.models import find_model, is_remote, list_models, prepare_model
from ragqa.service.events import Stopped, go_on
from ragqa.service.waiting import held

if TYPE_CHECKING:
    import llm


class Served:
    """One model, loaded, with the lock that its kind needs."""

    def __init__(self, model: llm.Model) -> None:
        self._model = model
        self._lock = None if is_remote(model) or model.model_id == EXTRACTIVE else threading.Lock()

    def model(self, stopped: Stopped) -> llm.Model:
        """Return the model for one question; it says no more once that is `stopped`."""
        if self._model.model_id == EXTRACTIVE:
            return Extractive()
        # A copy of the outside alone: what is loaded stays in the one model, whose method this is.
        one = copy.copy(self._model)
        one.execute = _until(stopped, self._model.execute)  # type: ignore[method-assign]
        return one

    @contextmanager
    def answering(self, stopped: Stopped, waiting: Callable[[], None]) -> Iterator[None]:
        """Have the model for the block; `waiting` is called where another question has it."""
        if self._lock is None:
            yield
            return
        with held(self._lock, stopped, waiting):
            try:
                yield
            except BaseException as error:
                # An answer that was cut short is held by its frames; it ends before the next one begins.
                traceback.clear_frames(error.__traceback__)
                raise


class Models:
    """Models by the names that they were asked for under."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, Served] = {}
        self._by_id: dict[str, Served] = {}

    def get(self, name: str) -> Served:
        """Return the model of this name or alias, loaded; raises RagqaError when it cannot be had."""
        known = self._by_name.get(name)
        if known is not None:
            return known
        with self._lock:
            if name not in self._by_name:
                model = find_model(name)
                if model.model_id not in self._by_id:
                    # What runs in this process is opened here, and so only once.
                    prepare_model(model)
                    self._by_id[model.model_id] = Served(model)
                self._by_name[name] = self._by_id[model.model_id]
            return self._by_name[name]


def _until(stopped: Stopped, execute: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Return `execute` so that it ends with StoppedError at the first piece after `stopped`.

    What an answer is made of may be held back, so whoever reads it learns of a piece too late.
    """

    def execute_until(*args: Any, **options: Any) -> Iterator[Any]:
        for piece in execute(*args, **options):
            go_on(stopped)
            yield piece

    return execute_until


def ready_models() -> list[dict[str, Any]]:
    """Return the models that can be asked, as `ragqa models --json` lists them."""
    return [listed for listed in list_models() if listed["ready"]]
