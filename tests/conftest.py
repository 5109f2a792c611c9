"""Fixtures shared by all tests: an isolated user, a small corpus, the CLI as a subprocess, fake models."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llm
import pytest
from llm.plugins import pm

from ragqa.cli.manual import ENVIRONMENT
from ragqa.config import ChunkSettings
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.doctor.extras import extras
from ragqa.sources import Fields, open_sources
from tests import starter

# Read when the library is imported, which collecting the tests may do.
os.environ["HF_HUB_OFFLINE"] = "1"

SHARED = Path(__file__).parents[2] / "shared" / "data"

# Two processes run tests on two cores: torch's threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# C++ extensions are compiled once per machine and interpreter, not once per test and its home.
COMPILED = Path.home() / ".cache" / "ragqa-test-extensions" / str(sys.implementation.cache_tag)
EXTENSIONS = os.environ.get("TORCH_EXTENSIONS_DIR") or str(COMPILED)

NOTES = {
    "coffee.md": """---
title: Making coffee
date: 2024-03-01
---
# Making coffee

Coffee is brewed with water just below boiling.

## Grinding

Grind the beans medium for a paper filter, and coarse for a French press.

## Ratio

Use 60 grams of beans for one litre of water.
""",
    "bicycle.md": """# Repairing a bicycle

A flat tyre is mended with a patch and rubber cement.

```bash
bike-tool --pump 4.5
```

The chain wants oil every 200 kilometres.
""",
    "tea.html": """<html><head><title>Brewing tea</title><script>alert(1)</script></head>
<body><nav>Home</nav><h1>Brewing tea</h1><p>Green tea is steeped at <b>70 degrees</b> for two minutes.</p>
<ul><li>Black tea wants boiling water.</li></ul><pre><code>kettle --temp 70</code></pre></body></html>""",
    "garden.txt": "Tomatoes need six hours of sun.\n\nWater the roots in the morning, never the leaves.",
}


# What cannot even be imported without an extra.
NEED = {
    "cli/test_train.py": "train",
    "cluster": "scale",
    "mcp": "mcp",
    "operations/test_object_store.py": "scale",
    "operations/test_push.py": "scale",
    "service/test_for_models.py": "mcp",
    "train": "train",
    "web": "web",
}
needs_sklearn = pytest.mark.skipif(find_spec("sklearn") is None, reason="fitting needs scikit-learn")
# Half a minute and more, each file's tests together.
LONGEST = (
    "test_ray_engine.py",
    "test_shared_data.py",
    "test_cli.py",
    "test_train.py",
    "test_http_model.py",
    "test_server.py",
    "test_packaging.py",
)
LACKING = {extra.name: extra for extra in extras() if extra.missing}


def pytest_configure() -> None:
    """Take Ctrl-C, which a shell has ignored by what it starts in the background, and by all below that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over what needs an extra that is not installed; the first lines of a run say so."""
    name = collection_path.relative_to(Path(__file__).parent).as_posix()
    return True if NEED.get(name) in LACKING else None


def pytest_report_header() -> list[str]:
    return [
        f"tests/{name} left out, for want of ragqa[{extra}]"
        for name, extra in NEED.items()
        if extra in LACKING
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out tests of extras that are not installed; begin with the files that take longest.

    At the end one of the two processes would wait for them.
    """
    for item in items:
        for name in (name for mark in item.iter_markers("needs") for name in mark.args):
            if name in LACKING:
                item.add_marker(pytest.mark.skip(reason=f"needs {LACKING[name].mend}"))
    longest = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: longest.get(item.path.name, len(longest)))


@pytest.fixture(scope="session", autouse=True)
def started() -> None:
    """Start what commands are forked from before any test has a home of its own: it outlives them."""
    starter.start()


@pytest.fixture(autouse=True)
def isolated_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test its own llm directory and home, and no keys, corpus, runs or hub."""
    user = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("LLM_USER_PATH", str(user / "llm"))
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("XDG_DATA_HOME", str(user / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(user / "cache"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", EXTENSIONS)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in [*(name for name, _ in ENVIRONMENT if name.startswith("RAGQA_")), "OPENAI_API_KEY"]:
        monkeypatch.delenv(name, raising=False)
    return user


def write_notes(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in NOTES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def fill(path: Path, *sources: Path, fields: Fields | None = None, **options: Any) -> None:
    """Ingest `sources` into the corpus at `path`."""
    with Corpus.open(path, create=True) as corpus:
        opened = open_sources([str(source) for source in sources], fields or Fields(), **options)
        ingest(corpus, opened, ChunkSettings())


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


@pytest.fixture(scope="session")
def indexed_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of NOTES with everything built; copy it before changing it."""
    from ragqa.operations.corpus import build_index
    from ragqa.pipeline import Pipeline

    folder = tmp_path_factory.mktemp("indexed")
    path = folder / "notes.db"
    fill(path, write_notes(folder / "notes"))
    pipeline = Pipeline.from_config("default", path)
    build_index(pipeline)
    pipeline.close()
    return path


@pytest.fixture
def db(indexed_notes: Path, tmp_path: Path) -> Path:
    """A corpus of NOTES of one's own, with everything built."""
    return Path(shutil.copy(indexed_notes, tmp_path / "notes.db"))


@pytest.fixture
def corpus(db: Path) -> Iterator[Corpus]:
    with Corpus.open(db) as opened:
        yield opened


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ragqa(tmp_path: Path) -> Run:
    """Run the command line as a user would; returns what it printed and its exit code.

    With an environment of its own it starts from nothing, since Python and libraries read that as they start.
    """

    def run(*args: str | Path, input: str | None = None, env: dict[str, str] | None = None) -> Any:
        arguments = [str(arg) for arg in args]
        if env is None:
            return starter.run(arguments, tmp_path, os.environ, input, timeout=300)
        return subprocess.run(
            [sys.executable, "-m", "ragqa", *arguments],
            capture_output=True,
            text=True,
            input=input,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, **env},
        )

    return run


class FakeModel(llm.Model):
    """Answers with a fixed text and remembers what it was asked."""

    can_stream = True

    class Options(llm.Options):
        temperature: float | None = None

    def __init__(self, model_id: str, answer: Sequence[str], error: Exception | None = None) -> None:
        self.model_id = model_id
        self.answer = answer
        self.error = error
        self.prompts: list[llm.Prompt] = []

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        self.prompts.append(prompt)
        yield from self.answer
        if self.error:
            raise self.error


class KeyedModel(llm.KeyModel):
    model_id = "keyed"
    needs_key = "keyed"

    def execute(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        yield "unreachable"


@pytest.fixture
def fake_models() -> Iterator[SimpleNamespace]:
    """Register fake models through llm's plugin manager, as a plugin would."""
    models = SimpleNamespace(
        answering=FakeModel("fake", ["Use 60 grams ", "of beans [1]. ", "Sun helps [99]."]),
        failing=FakeModel("failing", ["Use"], RuntimeError("the server hung up")),
        keyed=KeyedModel(),
    )

    class Plugin:
        __name__ = "FakeModels"

        @llm.hookimpl
        def register_models(self, register: Any) -> None:
            for model in (models.answering, models.failing, models.keyed):
                register(model)

    plugin = Plugin()
    pm.register(plugin, name="fake-models")
    yield models
    pm.unregister(plugin)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data folder {SHARED} is not here")
    return SHARED
