"""Training pairs: a question with a passage that answers it, and which of them are held back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ragqa.corpus.chunking import has_prose
from ragqa.corpus.database import Corpus, batches
from ragqa.corpus.passages import indexed_text
from ragqa.errors import UsageError
from ragqa.evaluate.questions import QuestionSet
from ragqa.pipeline import Pipeline
from ragqa.types import Hit, Passage

HEADINGS = "headings"
# A shorter heading, such as "Usage", says too little without the title.
ENOUGH_WORDS = 3
# Text under a heading that has fewer words answers nothing.
FEWEST_WORDS = 8
# Relevant documents of one question that become a pair each.
MOST_POSITIVES = 3
# With fewer questions held back no difference has p < .05: 2 / 2^6 is the smallest p of six.
FEWEST_HELD_BACK = 6
FEWEST_TRAINING = 8

# What of a passage's title line is the question, and so not in the text that is to be found by it.
Hidden = Literal["", "title", "heading", "both"]
OnPair = Callable[[int, int | None], None]

_HEADING_LINES = re.compile(r"\A(?:\s*#{1,6}[ \t][^\n]*(?:\n+|\Z))+")


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """A question and a passage that answers it, `text` being the passage as an encoder reads it.

    `relevant` are the documents that answer the question, the passage's own among them: none of their
    passages is a negative. `origin` says where the question is from.
    """

    query: str
    passage_id: str
    document_id: str
    text: str
    origin: str
    relevant: tuple[str, ...]
    hidden: Hidden = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainingPair:
        return cls(**{**data, "relevant": tuple(data["relevant"])})


@dataclass(frozen=True, slots=True)
class Split:
    """Pairs to train on and pairs held back, no document on both sides.

    `held_back_documents` are all documents of the second side; `between` counts the pairs whose question
    has relevant documents on both sides, which are left out.
    """

    training: tuple[TrainingPair, ...]
    held_back: tuple[TrainingPair, ...]
    held_back_documents: frozenset[str]
    between: int


def read_without(passage: Passage, hidden: Hidden) -> str:
    """Return a passage as an encoder reads it, without what `hidden` names of its title line.

    A heading that is the question must not stand in the answer: the model would learn to look for equal
    words, which full text does already.
    """
    if not hidden:
        return indexed_text(passage)[0]
    title = passage.title if hidden == "heading" else ""
    headings = passage.headings if hidden == "title" else passage.headings[:-1]
    text = _HEADING_LINES.sub("", passage.text)
    if text.startswith(passage.title) and not title:
        text = text.removeprefix(passage.title)
    return indexed_text(replace(passage, title=title, headings=headings, text=text.strip()))[0]


def heading_pairs(corpus: Corpus) -> list[TrainingPair]:
    """Return each title and each heading of the corpus with the first passage under it.

    A heading of few words has the title before it. Headings over next to no text are left out.
    """
    pairs = []
    for passages in _documents(corpus):
        seen: set[tuple[str, ...]] = {()}
        titled = False
        for passage in passages:
            if not titled and passage.title:
                titled = True
                pairs += _heading_pair(passage, passage.title, "title")
            if passage.headings not in seen:
                seen.add(passage.headings)
                heading = passage.headings[-1]
                alone = len(heading.split()) >= ENOUGH_WORDS or not passage.title
                query = heading if alone else f"{passage.title}: {heading}"
                pairs += _heading_pair(passage, query, "heading" if alone else "both")
    return pairs


def question_pairs(
    pipeline: Pipeline, questions: QuestionSet, on_pair: OnPair = lambda done, total: None
) -> list[TrainingPair]:
    """Return the judged questions of a set, each with a passage of a relevant document.

    Judgements are of documents. The passage is the one that the first stage ranks highest, one that holds
    a golden answer before others; a document that it does not find makes no pair. Raises UsageError when
    the corpus has none of the documents.
    """
    judged = [question for question in questions.questions if question.judged]
    pairs = []
    for done, question in enumerate(judged, 1):
        relevant = tuple(document for document, grade in question.relevant.items() if grade > 0)
        hits = pipeline.candidates(question.text).hits
        for document in relevant[:MOST_POSITIVES]:
            own = [hit for hit in hits if hit.passage.document_id == document]
            if own:
                passage = _answering(own, question.golden_answers)
                text = read_without(passage, "")
                pairs.append(
                    TrainingPair(question.text, passage.id, document, text, questions.name, relevant)
                )
        on_pair(done, len(judged))
    if not pairs:
        raise UsageError(
            f"No question of {questions.name} has a relevant document that is found in "
            f"{pipeline.corpus.path}: are its ids those that the documents were ingested under?"
        )
    return pairs


def without_questions(pairs: Iterable[TrainingPair], questions: Iterable[str]) -> list[TrainingPair]:
    """Return the pairs whose question is none of `questions`, and each pair once."""
    taken = {_normal(question) for question in questions}
    found: dict[tuple[str, str], TrainingPair] = {}
    for pair in pairs:
        if _normal(pair.query) not in taken:
            found.setdefault((_normal(pair.query), pair.passage_id), pair)
    return list(found.values())


def split(pairs: Sequence[TrainingPair], share: float, seed: int) -> Split:
    """Return `pairs` in two, a `share` of their documents held back, drawn with `seed`.

    Raises UsageError when a side has too few pairs for training or for a comparison.
    """
    documents = sorted({document for pair in pairs for document in pair.relevant})
    documents.sort(key=lambda document: hashlib.sha256(f"{seed} {document}".encode()).digest())
    held = frozenset(documents[: round(share * len(documents))])
    training = [pair for pair in pairs if held.isdisjoint(pair.relevant)]
    held_back = [pair for pair in pairs if held.issuperset(pair.relevant)]
    if len(training) < FEWEST_TRAINING or len({pair.query for pair in held_back}) < FEWEST_HELD_BACK:
        raise UsageError(
            f"There are {len(training):,} pairs to train on and {len(held_back):,} held back, and at least "
            f"{FEWEST_TRAINING} and {FEWEST_HELD_BACK} are needed: add documents or another --from."
        )
    return Split(tuple(training), tuple(held_back), held, len(pairs) - len(training) - len(held_back))


def _heading_pair(passage: Passage, query: str, hidden: Hidden) -> list[TrainingPair]:
    text = read_without(passage, hidden)
    if len(query.split()) < 2 or len(text.split()) < FEWEST_WORDS or not has_prose(text):
        return []
    document = passage.document_id
    return [TrainingPair(query, passage.id, document, text, HEADINGS, (document,), hidden)]


def _answering(hits: Sequence[Hit], answers: Sequence[str]) -> Passage:
    for hit in hits:
        text = hit.passage.text.lower()
        if any(answer.lower() in text for answer in answers):
            return hit.passage
    return hits[0].passage


def all_passages(corpus: Corpus) -> Iterator[Passage]:
    """Yield every passage, document by document in reading order."""
    rows = corpus.connection.execute("SELECT rowid FROM passages ORDER BY document, ordinal").fetchall()
    for batch in batches([row[0] for row in rows]):
        yield from corpus.passages(batch)


def _documents(corpus: Corpus) -> Iterator[list[Passage]]:
    document: list[Passage] = []
    for passage in all_passages(corpus):
        if document and passage.document_id != document[0].document_id:
            yield document
            document = []
        document.append(passage)
    if document:
        yield document


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
