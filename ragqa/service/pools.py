"""Pipelines to borrow: several of one config, each with a connection of its own, made when needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ragqa.config import Config
from ragqa.errors import RagqaError
from ragqa.pipeline import Pipeline
from ragqa.search import registry
from ragqa.service.events import Stopped
from ragqa.service.waiting import held

# How many questions search with one config at the same time; each takes some milliseconds.
PIPELINES = 4


class PipelinePool:
    """The pipelines of one config; `slots` says how many may be out at once.

    A file that was replaced is opened again.
    """

    def __init__(self, open_pipeline: Callable[[], Pipeline], slots: threading.Semaphore) -> None:
        self._open = open_pipeline
        self._slots = slots
        self._idle: list[tuple[Pipeline, object]] = []

    @contextmanager
    def borrow(self, stopped: Stopped) -> Iterator[Pipeline]:
        """Lend a pipeline for the block; raises StoppedError when nobody waits for one any more."""
        with held(self._slots, stopped):
            pipeline, identity = self._take()
            try:
                yield pipeline
            except RagqaError:
                self._idle.append((pipeline, identity))
                raise
            except BaseException:
                # What state it is in nobody knows.
                pipeline.close()
                raise
            self._idle.append((pipeline, identity))

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    def _take(self) -> tuple[Pipeline, object]:
        while self._idle:
            pipeline, identity = self._idle.pop()
            if identity == file_identity(pipeline.corpus.path):
                return pipeline, identity
            pipeline.close()
        pipeline = self._open()
        return pipeline, file_identity(pipeline.corpus.path)


def shares(config: Config) -> bool:
    """Tell whether several pipelines of a config may search at once: they share their encoders."""
    return registry.shares(config.retrieve) and registry.reranker_shares(config.rerank)


def file_identity(path: Path) -> object:
    """Return what changes when another file takes the place of the one at `path`."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
