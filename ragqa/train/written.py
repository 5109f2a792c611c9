"""Questions that a model writes for passages: asked once, kept in a file, checked before they are used."""

from __future__ import annotations

import hashlib
import random
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import platformdirs

from ragqa.corpus.chunking import has_prose
from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError
from ragqa.train.pairs import OnPair, TrainingPair, all_passages, read_without
from ragqa.types import Passage

if TYPE_CHECKING:
    import llm

PROMPT = "write-question"
# In words: what a passage needs to be asked about, and how long a question may be.
FEWEST_WORDS = 25
SHORTEST, LONGEST = 3, 40
# So many words in a row that are the passage's too make a question a quotation of it.
COPIED = 8
BUSY_TIMEOUT_S = 30.0

# A question that speaks of the text is understood only by whoever has it.
_OF_THE_TEXT = re.compile(r"\b(this|the|given|above) (passage|text|excerpt|paragraph|document)\b", re.I)


class WrittenQuestions:
    """What models wrote so far, by model, prompt and passage. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self.connection.execute(
                "CREATE TABLE IF NOT EXISTS written (key TEXT PRIMARY KEY, model TEXT NOT NULL,"
                " said TEXT NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise RagqaError(f"The file of written questions {path} cannot be opened: {error}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def get(self, key: str) -> str | None:
        row = self.connection.execute("SELECT said FROM written WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, model: str, said: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO written VALUES (?, ?, ?)", [key, model, said])


def default_file() -> Path:
    """Return where written questions are kept: they cost time or money, and outlive a training."""
    return Path(platformdirs.user_data_dir("ragqa", appauthor=False)) / "written-questions.db"


def written_pairs(
    model: llm.Model,
    passages: Sequence[Passage],
    kept: WrittenQuestions,
    on_pair: OnPair = lambda done, total: None,
) -> list[TrainingPair]:
    """Return a pair for each passage that `model` writes a usable question for.

    What it said is kept as soon as it is there, so that a run that stopped, or failed with RagqaError, goes
    on where it was.
    """
    from ragqa.answer.generate import say
    from ragqa.answer.models import check_options, prepare_model
    from ragqa.answer.prompts import fill_prompt, load_prompt

    template = load_prompt(PROMPT, frozenset({"passage"}))
    # A small model is opened with a window that the prompt has room in.
    prepare_model(model)
    options: dict[str, Any] = check_options(model, {})
    pairs = []
    for done, passage in enumerate(passages, 1):
        text = read_without(passage, "")
        prompt = fill_prompt(template, {"passage": text.replace("<", "&lt;")})
        asked = "\0".join((model.model_id, prompt.system or "", prompt.text))
        key = hashlib.sha256(asked.encode()).hexdigest()
        said = kept.get(key)
        if said is None:
            said = say(model, prompt, options).text
            kept.put(key, model.model_id, said)
        question = usable_question(said, text)
        if question:
            document = passage.document_id
            origin = f"model:{model.model_id}"
            pairs.append(TrainingPair(question, passage.id, document, text, origin, (document,)))
        on_pair(done, len(passages))
    return pairs


def sample_passages(corpus: Corpus, count: int, seed: int) -> list[Passage]:
    """Return at most `count` passages with enough to ask about, drawn with `seed` over all documents."""
    # One of each document first: long documents would otherwise be asked about most.
    by_document: dict[str, list[Passage]] = {}
    rng = random.Random(seed)
    for passage in all_passages(corpus):
        if has_prose(passage.text) and len(passage.text.split()) >= FEWEST_WORDS:
            by_document.setdefault(passage.document_id, []).append(passage)
    columns = list(by_document.values())
    rng.shuffle(columns)
    for column in columns:
        rng.shuffle(column)
    drawn: list[Passage] = []
    for place in range(max(map(len, columns), default=0)):
        drawn += [column[place] for column in columns if place < len(column)]
    return drawn[:count]


def usable_question(said: str, passage: str) -> str | None:
    """Return the question in what a model said; None unless it is one line, a question and no copy."""
    question = said.strip().strip("\"'“”*").strip()
    words = _words(question)
    if "\n" in question or not question.endswith(("?", "？")):
        return None
    # Some writing systems have no spaces between words.
    long_enough = len(words) >= SHORTEST or (not question.isascii() and len(question) >= 2 * SHORTEST)
    if not long_enough or len(words) > LONGEST or _OF_THE_TEXT.search(question):
        return None
    run = min(COPIED, len(words))
    text = f" {' '.join(_words(passage))} "
    copied = any(f" {' '.join(words[start : start + run])} " in text for start in range(len(words) - run + 1))
    return None if copied else question


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
