"""A served corpus: in the process, and on a real port; models that wait until they are let go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llm
import pytest
from llm.plugins import pm

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'ragqa[web]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'ragqa[web]'")

from starlette.testclient import TestClient

from ragqa.service.warm import WarmLibrary
from ragqa.web.app import Settings, make_app
from ragqa.web.server import Server, listening, server_config

HERE = "http://127.0.0.1:8100"
QUESTION = "How many grams of beans for one litre of water?"


class GatedModel(llm.Model):
    """Says a piece each time it is let, and knows what it was made to do."""

    can_stream = True

    def __init__(self, model_id: str, pieces: list[str]) -> None:
        self.model_id = model_id
        self.pieces = pieces
        self.let = threading.Semaphore(0)
        self.said: list[str] = []
        self.inside = 0
        self.most_inside = 0
        self.closed = threading.Event()

    def execute(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        try:
            for piece in self.pieces:
                assert self.let.acquire(timeout=20)
                self.said.append(piece)
                yield piece
        finally:
            self.inside -= 1
            self.closed.set()


@dataclass
class Gated:
    one: GatedModel
    other: GatedModel


@pytest.fixture
def gated() -> Iterator[Gated]:
    """Two models that a test lets go on piece by piece, registered as a plugin's would be."""
    pieces = ["Use 60 grams of beans ", "for one litre of water [1]. ", "Never more."]
    models = Gated(GatedModel("gated-one", pieces), GatedModel("gated-other", pieces))

    class Plugin:
        __name__ = "GatedModels"

        @llm.hookimpl
        def register_models(self, register: Any) -> None:
            register(models.one)
            register(models.other)

    plugin = Plugin()
    pm.register(plugin, name="gated-models")
    yield models
    pm.unregister(plugin)


@pytest.fixture
def engine(db: Path) -> Iterator[WarmLibrary]:
    """An engine over NOTES that has loaded everything."""
    with closing(WarmLibrary(db, ["default", "fts"])) as made:
        warm(made)
        yield made


def warm(engine: WarmLibrary) -> None:
    ready = threading.Event()
    engine.start(lambda seconds: ready.set())
    assert ready.wait(60)


@pytest.fixture
def client(engine: WarmLibrary) -> Iterator[TestClient]:
    with TestClient(make_app(engine, Settings()), base_url=HERE) as made:
        yield made


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Serve an engine on a free port of this machine; return the address."""
    running: list[tuple[Server, threading.Thread, Any]] = []

    def start(engine: WarmLibrary, settings: Settings | None = None) -> str:
        opened = listening("127.0.0.1", 0)
        server = Server(server_config(make_app(engine, settings or Settings())))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        running.append((server, thread, opened))
        return f"http://127.0.0.1:{opened.getsockname()[1]}"

    yield start
    for server, thread, opened in running:
        server.should_exit = True
        thread.join(20)
        opened.close()
        assert not thread.is_alive()
