"""A corpus kept open for a program that asks it again and again, from any thread: `ragqa mcp`, llm's tools.

A pipeline is no thing for two threads, so one lock lets one question at a time into the corpus, for some
milliseconds. While a model answers the lock is free: what needs the corpus is done by then.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ragqa.errors import RagqaError, UsageError, unknown_name
from ragqa.safety.untrusted import for_model
from ragqa.types import Answer, Document, SearchResult

if TYPE_CHECKING:
    import llm

    from ragqa.corpus.database import Corpus
    from ragqa.pipeline import Pipeline

# How many characters of a document are read at once: about 2,000 tokens.
PAGE = 8_000
MOST_HITS = 50
# How often a thread that waits for its turn looks whether anybody still wants it to.
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Extract:
    """A stretch of a document: `text` is `document.text[offset : offset + len(text)]`."""

    document: Document
    offset: int
    text: str

    @property
    def next_offset(self) -> int | None:
        """Where the rest begins; None where there is none."""
        end = self.offset + len(self.text)
        return end if end < len(self.document.text) else None


class StoppedError(RagqaError):
    """Nobody waits for the result any more."""


class Acquirable(Protocol):
    """A lock or a semaphore."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...


class Library:
    """The corpus at `db` (the user's own by default), searched by `config` unless a question names another.

    Files are opened by the first question that needs them, and again when they were replaced, so that a
    library may be made before its corpus. Pipelines and models stay loaded until `close`.
    """

    def __init__(
        self,
        db: Path | str | None = None,
        config: str = "default",
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.config = config
        self._db = db
        self._note = note
        self._searching = threading.Lock()
        # A model in the process may not be asked by two at once.
        self._answering = threading.Lock()
        self._pipelines: dict[str, tuple[Pipeline, object]] = {}
        # By the names that they were asked for under, and by their own: one model may have several.
        self._named: dict[str, llm.Model] = {}
        self._models: dict[str, llm.Model] = {}
        self._finalizer = weakref.finalize(self, _close, self._pipelines)

    def close(self) -> None:
        with self._searching:
            self._finalizer()

    def configs(self) -> list[str]:
        """Return what a question may name as its config: a shipped one, or the library's.

        A question comes from a model that has read documents; it is not to open files of their choice.
        """
        from ragqa.config import shipped_configs

        return sorted({self.config, *shipped_configs()})

    def search(
        self,
        question: str,
        k: int | None = None,
        config: str | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> SearchResult:
        """Return the best `k` passages; raises what `Pipeline.search` raises.

        Raises StoppedError once `stopped` says that nobody waits any more.
        """
        if k is not None and not 1 <= k <= MOST_HITS:
            raise UsageError(f"k is {k:,}, and it must be from 1 to {MOST_HITS}.")
        with self._searching:
            go_on(stopped)
            return self._pipeline(config).search(question, k)

    def ask(
        self,
        question: str,
        model: str | None = None,
        config: str | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Return a model's answer; raises what `Pipeline.ask` raises, and StoppedError as `search` does."""
        from ragqa.answer.extractive import Extractive
        from ragqa.answer.models import is_remote
        from ragqa.pipeline import check_question

        question = check_question(question)
        with self._searching:
            go_on(stopped)
            pipeline = self._pipeline(config)
            chosen, options = self._model(pipeline, model)
            request = pipeline.request_for(question, chosen, options)
        free = is_remote(chosen) or isinstance(chosen, Extractive)
        with nullcontext() if free else held(self._answering, stopped):
            go_on(stopped)
            return request.send(note=self._note, on_text=lambda text: go_on(stopped))

    def read(self, document_id: str, offset: int | None = None) -> Extract:
        """Return a page of a document from `offset`, in characters.

        The id may be a passage's, as hits have it; without an `offset` the page then begins at the
        passage. Raises UsageError when there is no such document or it has no such offset.
        """
        with reading(self._db) as corpus:
            document, start = _find_document(corpus, document_id)
        offset = start if offset is None else offset
        if not 0 <= offset <= max(len(document.text) - 1, 0):
            raise UsageError(
                f"The document {document.id!r} has {len(document.text):,} characters, "
                f"and none at offset {offset:,}."
            )
        return Extract(document, offset, _page(document.text, offset))

    def document(self, document_id: str) -> Document:
        """Return a whole document; raises UsageError when there is no such one."""
        with reading(self._db) as corpus:
            return _find_document(corpus, document_id)[0]

    def documents(self, after: str, count: int) -> list[tuple[str, str]]:
        """Return ids and titles of up to `count` documents, those whose ids come next after `after`."""
        query = "SELECT id, title FROM documents WHERE id > ? ORDER BY id LIMIT ?"
        with reading(self._db) as corpus:
            return [(row[0], row[1]) for row in corpus.connection.execute(query, [after, count])]

    def status(self) -> dict[str, Any]:
        """Return what the corpus holds, in the documented form of `status --json`."""
        from ragqa.operations.corpus import corpus_status

        with reading(self._db) as corpus:
            return corpus_status(corpus)

    def _pipeline(self, config: str | None) -> Pipeline:
        from ragqa.pipeline import Pipeline

        name = config or self.config
        if name not in self.configs():
            raise unknown_name("config", name, self.configs())
        pipeline, identity = self._pipelines.get(name, (None, None))
        if pipeline is not None:
            if identity == file_identity(pipeline.corpus.path):
                return pipeline
            del self._pipelines[name]
            pipeline.close()
        opened = Pipeline.from_config(name, self._db, self._note)
        self._pipelines[name] = opened, file_identity(opened.corpus.path)
        return opened

    def _model(self, pipeline: Pipeline, name: str | None) -> tuple[llm.Model, Mapping[str, Any]]:
        """Return the model called `name`, the config's by default, and its options for one question."""
        from ragqa.answer.extractive import Extractive
        from ragqa.answer.models import check_options, find_model

        wanted = name or pipeline.config.model
        # llm makes a model anew each time it is asked for it, with nothing loaded.
        if wanted not in self._named:
            found = find_model(wanted)
            self._named[wanted] = self._models.setdefault(found.model_id, found)
        model = self._named[wanted]
        # What it keeps of a question is for one question; nothing is loaded.
        model = Extractive() if isinstance(model, Extractive) else model
        pipeline.prompt_text(model)
        return model, check_options(model, pipeline.own_options(name))


@contextmanager
def reading(db: Path | str | None) -> Iterator[Corpus]:
    """Open the corpus at `db` (the user's own by default) as it is at one moment.

    What another process writes meanwhile is not seen: a document and its passages belong together.
    """
    from ragqa.corpus.database import Corpus
    from ragqa.files import default_corpus

    with Corpus.open(default_corpus() if db is None else db) as corpus, corpus.snapshot():
        yield corpus


def go_on(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise StoppedError("The request was cancelled.")


@contextmanager
def held(
    lock: Acquirable, stopped: Callable[[], bool], waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold `lock` for the block; `waiting` is called once where it is not free.

    Raises StoppedError when nobody waits any more before it is.
    """
    if not lock.acquire(blocking=False):
        waiting()
        while not lock.acquire(timeout=LOOK_S):
            go_on(stopped)
    try:
        yield
    finally:
        lock.release()


def _close(pipelines: dict[str, tuple[Pipeline, object]]) -> None:
    while pipelines:
        _, (pipeline, _) = pipelines.popitem()
        pipeline.close()


def file_identity(path: Path) -> object:
    """Return what changes when another file takes the place of the one at `path`."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _find_document(corpus: Corpus, name: str) -> tuple[Document, int]:
    """Return the document with this id, or that of the passage with this id and where that begins."""
    name = name.encode("utf-8", "replace").decode("utf-8")
    document_id, _, ordinal = name.rpartition("#")
    wanted: list[tuple[str, int | None]] = [(name, None)]
    if ordinal.isdecimal() and len(ordinal) < 10:
        wanted.append((document_id, int(ordinal)))
    for find in (corpus.document, partial(_disguised, corpus)):
        for one, number in wanted:
            document = find(one)
            start = 0 if document is None or number is None else _start(corpus, document.id, number)
            if document is not None and start is not None:
                return document, start
    raise UsageError(f"There is no document {name!r}. The hits of a search have the ids of documents.")


def _disguised(corpus: Corpus, name: str) -> Document | None:
    """Return the document whose id, without what a model must not read, is `name`."""
    ids = corpus.connection.execute("SELECT id FROM documents")
    found = next((row[0] for row in ids if row[0] != name and for_model(row[0]) == name), None)
    return None if found is None else corpus.document(found)


def _start(corpus: Corpus, document_id: str, ordinal: int) -> int | None:
    query = (
        "SELECT p.start FROM passages p JOIN documents d ON d.rowid = p.document"
        " WHERE d.id = ? AND p.ordinal = ?"
    )
    row = corpus.connection.execute(query, [document_id, ordinal]).fetchone()
    return row and int(row[0])


def _page(text: str, offset: int) -> str:
    """Return about PAGE characters from `offset` on, up to the end of a line where one is near."""
    end = offset + PAGE
    if end < len(text):
        line_end = text.rfind("\n", offset + PAGE // 2, end)
        end = end if line_end < 0 else line_end + 1
    return text[offset:end]
