"""The values that travel from the corpus to an answer. Nothing here computes or stores.

What a notebook shows of them is in `ragqa.explain.notebook`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TextFormat = Literal["markdown", "text"]
# The score under which a reranker with `fuse` keeps the fused one: it says nothing of a passage alone.
FUSED = "fusion"

Span = tuple[int, int]
Verdict = Literal["supported", "unsupported", "wrong citation"]


PlaceKind = Literal["line", "page", "slide", "sheet", "chapter", "cell"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in its source a passage stands: on which page, slide, sheet, in which chapter, cell or lines.

    `label` names it, as the source does: a page's is "iii" or "12". `first` and `last` are lines, or a
    sheet's rows, counted from 1; both are 0 where they are not counted.
    """

    kind: PlaceKind
    label: str = ""
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        if self.kind == "page":
            return f"p. {self.label}"
        counted = "row" if self.kind == "sheet" else "line"
        several = f"{counted}s {self.first}-{self.last}" if self.last > self.first else ""
        lines = (several or f"{counted} {self.first}") if self.first else ""
        named = f"{self.kind} {self.label}" if self.label else ""
        return ", ".join(filter(None, (named, lines)))


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a document that begins at `start`, in characters, and that no passage reaches beyond.

    `label` is its page, slide, sheet, chapter or cell. Where `first` is not 0 its lines are counted from
    there: lines of a file, rows of a sheet. `headings` are what it stands under, besides those in the text.
    """

    start: int
    label: str = ""
    first: int = 0
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a document, all of one kind, in their order; the first one begins at 0."""

    kind: PlaceKind
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One document as a loader read it; `text` is Markdown or plain text, never HTML."""

    id: str
    title: str
    text: str
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    format: TextFormat = "markdown"
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document: `text` is `document.text[start:end]`, in characters.

    `rowid` is the corpus file's own key, negative for a passage that lies elsewhere; `id`
    ("document#ordinal") is the one shown to people.
    """

    rowid: int
    document_id: str
    ordinal: int
    start: int
    end: int
    title: str
    headings: tuple[str, ...]
    text: str
    source: str
    metadata: Mapping[str, Any]
    place: Place | None = None

    @property
    def id(self) -> str:
        return f"{self.document_id}#{self.ordinal}"

    @property
    def location(self) -> str:
        """The document's id and where in it the passage stands: "notes.md:41", "lease.pdf, p. 3"."""
        if self.place is not None and self.place.kind == "line":
            return f"{self.document_id}:{self.place.first}"
        return self._at(self.document_id)

    @property
    def id_and_place(self) -> str:
        """The passage's id and where it stands: "notes.md#2, lines 41-52", "lease.pdf#7, p. 3"."""
        return self._at(self.id)

    def _at(self, name: str) -> str:
        return name if self.place is None else f"{name}, {self.place}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage in a ranking. `rank` counts from 1; `scores` holds what each stage gave it."""

    passage: Passage
    rank: int
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class QueryWord:
    """A word of the question, `question[start:end]`.

    Both ends are 0 for what a stage reads besides words, such as special tokens; `text` then says what.
    """

    text: str
    start: int = 0
    end: int = 0

    @property
    def span(self) -> Span:
        return self.start, self.end


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """What a query word was worth: its `share` of the score.

    `best` is the place of the word in the passage that matches it best, with `similarity`; None where
    there is none, or where what matches best is no word (a special token).
    """

    word: QueryWord
    best: Span | None
    similarity: float
    share: float


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A word of the passage, and the query word that matches it best, by its place in `Matches.query`.

    `strength`, from 0 to 1, is how strongly it should be shown: it compares words of all passages that
    were explained together.
    """

    start: int
    end: int
    similarity: float
    strength: float
    query: int


@dataclass(frozen=True, slots=True)
class Matches:
    """What a stage matched in a passage; places are those in `text`, which is what the stage read.

    `total` is the sum of all shares: the stage's score. Where that is not quite the score that the
    passage has from it, or where the stage did not read all, `note` says why.
    """

    stage: str
    total: float
    text: str
    words: tuple[WordMatch, ...]
    query: tuple[QueryMatch, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedHit:
    """A hit with its matches, those of the last stage last.

    `ranks` is its rank by each stage's score among the candidates that have one. A passage that is
    none of the candidates has rank 0.
    """

    hit: Hit
    ranks: Mapping[str, int]
    matches: tuple[Matches, ...]

    @property
    def outside(self) -> bool:
        return self.hit.rank == 0

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """Its rank by each stage that scored it. Fused scores are no stage's: they give the last rank."""
        return tuple((stage, rank) for stage, rank in self.ranks.items() if stage != FUSED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explained hits of a question, of which there were `candidates`.

    `query_words` are all that any stage matched, in the order of the question; `document` is the one
    that was asked for, if one was.
    """

    question: str
    config: str
    candidates: int
    query_words: tuple[QueryWord, ...]
    hits: tuple[ExplainedHit, ...]
    document: str | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of one question, best first, with the time of each stage in milliseconds.

    `candidates` is what the first stage found, in its order; `explainer` tells which words matched.
    """

    question: str
    config: str
    hits: tuple[Hit, ...]
    timings_ms: Mapping[str, float]
    candidates: tuple[Hit, ...] = ()
    explainer: Callable[[SearchResult], Explanation] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ContextBlock:
    """A numbered stretch of one document in the context, merged from neighbouring passages.

    `offsets[i]` is where in `text` the first character of `passages[i]` stands, or would stand where
    an overlap is said only once.
    """

    number: int
    passages: tuple[Passage, ...]
    offsets: tuple[int, ...]
    text: str

    @property
    def first(self) -> Passage:
        return self.passages[0]


@dataclass(frozen=True, slots=True)
class Context:
    """What the model is given to read: `text` is the rendered blocks, `tokens` its estimated length."""

    text: str
    blocks: tuple[ContextBlock, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Citation:
    """A block that the answer cites as [number].

    `support`, from 0 to 1, is how well its text bears out the best of the sentences that cite it; None
    where the answer was not checked.
    """

    number: int
    passage: Passage
    support: float | None = None


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence of an answer, `answer.text[start:end]`, and whether the context bears it out.

    `by_block` has the support (0 to 1) that each block of the context gives it; `support` is that of the
    blocks that it cites, or of any block where it cites none; `best` is the block that supports it best.
    A wrong citation is one of blocks that do not support the sentence while another does.
    """

    start: int
    end: int
    text: str
    cited: tuple[int, ...]
    by_block: Mapping[int, float]
    support: float
    best: int | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Turn:
    """A question that was asked and what was answered."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was asked and answered so far, oldest first; `id` is that of the conversation in llm's log."""

    turns: tuple[Turn, ...] = ()
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer with the search and the context that it came from.

    `sentences` are those of the text that were checked, `removed` the numbers that the model cited and
    nothing was given under: they are no longer in the text. `refused` says that the documents do not
    answer the question, by the model's word or by the `scores`, in which case no model was asked.
    Tokens and `cost` (in dollars) are None where nobody counts them; `conversation_id` is that of llm's
    log, None where it was not logged.
    """

    search: SearchResult
    context: Context
    model: str
    text: str
    citations: tuple[Citation, ...]
    timings_ms: Mapping[str, float]
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    conversation_id: str | None = None
    sentences: tuple[CheckedSentence, ...] = ()
    removed: tuple[int, ...] = ()
    refused: Literal["", "model", "scores"] = ""
