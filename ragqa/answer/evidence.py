"""Which sentences of the passages match the question: MaxSim over the token vectors of each sentence.

The rule. A sentence's score is the mean, over the tokens of the question, of the nearest of the sentence's
token vectors, as they were made in its passage, so that "It is 70 degrees" knows of the tea before it. Words
of the passage's title and headings count as said in each sentence, at TITLE_SHARE; a sentence that defines
the subject of "what is X?" gains DEFINITION; one that only repeats the question, a heading or an image is
left out. Where it fails: a sentence with all words of the question that says something else of them.

TITLE_SHARE, DEFINITION and NEARLY were chosen on questions of XQuAD, NQ and our own notes, so that figures on
those flatter. At a TITLE_SHARE of 1 all sentences below the right title would look
alike, at 0 "pip install it" below "shot-scraper" would say nothing of it. DEFINITION is more than the best
sentences commonly differ by. All three were chosen on MiniLM's cosines; those of a model that keeps
everything nearer are spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.answer.sentences import split_sentences
from ragqa.corpus.chunking import has_prose
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.embedded.catalogue import fitted_to
from ragqa.encoders.tokens import Spans, TokenEncoder, Vectors
from ragqa.index.maxsim import best_matches, offsets_of
from ragqa.index.token_store import TokenSource
from ragqa.language.definitions import defines, echoes, subject_of
from ragqa.matching.encoded import EncodedText, encoded_passages
from ragqa.types import ContextBlock, Passage

# A sentence is worth reading when its score is at least this share of the best one's.
NEARLY = 0.85
# What a sentence that defines the subject of "what is X?" gains; cosines differ by less among the best.
DEFINITION = 0.15
# How much a match with the title is worth to each sentence, of what one in the sentence itself is.
TITLE_SHARE = 0.7
# The span of a token vector that comes from the title and headings before the text.
TITLE = -1


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text, `text[start:end]`.

    `score` is its MaxSim per token of the question, and DEFINITION more where it says what the
    question asks for.
    """

    start: int
    end: int
    text: str
    score: float


# From a question and blocks of text to the scored sentences of each block, in reading order.
SentenceRanker = Callable[[str, Sequence[ContextBlock]], list[list[Sentence]]]


class EvidenceReader:
    """Reads the evidence of blocks of text from stored token vectors, each passage once.

    The spans of what was read of the title and headings before the text are TITLE at both ends.

    One reader serves one question, so that its context, its answer and the check of it share what was read.
    The source is asked for when it is needed, since that loads its encoder.
    """

    def __init__(self, source: Callable[[], TokenSource]) -> None:
        self._source = source
        self._read: dict[str, EncodedText] = {}

    def read(self, blocks: Sequence[ContextBlock]) -> list[EncodedText]:
        """Return the evidence of each block; `block.text` is its passages joined, as `offsets` say."""
        self._load([passage for block in blocks for passage in block.passages])
        return [self._joined(block) for block in blocks]

    def rank(self, question: str, blocks: Sequence[ContextBlock]) -> list[list[Sentence]]:
        """Return the scored sentences of each block: nothing but the question is encoded."""
        encoder = self._source().encoder
        (query,) = encoder.encode_queries([question])
        spread = spread_of(encoder)
        return [rank_sentences(question, query, evidence, spread) for evidence in self.read(blocks)]

    def _load(self, passages: Sequence[Passage]) -> None:
        lacking = {passage.id: passage for passage in passages if passage.id not in self._read}
        if not lacking:
            return
        source = self._source()
        encoded = encoded_passages(source, list(lacking.values()))
        for passage, found in zip(lacking.values(), encoded, strict=True):
            spans = _moved(found.spans, indexed_text(passage)[1])
            self._read[passage.id] = EncodedText(passage.text, found.vectors, spans)

    def _joined(self, block: ContextBlock) -> EncodedText:
        parts = [self._read[passage.id] for passage in block.passages]
        vectors = np.concatenate([part.vectors for part in parts])
        spans = [
            np.where(part.spans[:, 1:] > 0, part.spans + offset, part.spans)
            for part, offset in zip(parts, block.offsets, strict=True)
        ]
        return EncodedText(block.text, vectors, np.concatenate(spans))


def spread_of(encoder: TokenEncoder) -> float:
    """Return the `spread` of an encoder's cosines (encoders/embedded/description.py); 1: none is known."""
    fitted = fitted_to(encoder.identity)
    return 1.0 if fitted is None else fitted.spread


def _moved(spans: Spans, prefix: int) -> Spans:
    """Return spans of an encoded text as spans of its passage: those of its title become TITLE, both ends.

    The passage's own text begins at `prefix` in what was encoded.
    """
    special = spans[:, 1:] == 0
    title = ~special & (spans[:, 1:] <= prefix)
    moved: Spans = np.where(special, 0, np.where(title, TITLE, spans - prefix))
    return moved


def rank_sentences(
    question: str, query: Vectors, evidence: EncodedText, spread: float = 1.0
) -> list[Sentence]:
    """Score the sentences of a text against the encoded question, shape (tokens, dimensions).

    The words of the title count, at TITLE_SHARE, as said in each sentence, because a sentence seldom
    repeats what its document is about. Left out is what repeats the words of a question and answers nothing:
    headings, images, and sentences that hold the whole question.
    """
    text, vectors, spans = evidence.text, evidence.vectors, evidence.spans
    sentences = [
        (start, end)
        for start, end in split_sentences(text)
        if has_prose(text[start:end]) and not echoes(text[start:end], question)
    ]
    title = query @ vectors[spans[:, 0] == TITLE].T
    floor = TITLE_SHARE * _spread(title.max(axis=1, initial=-1.0), spread)
    rows = [
        np.flatnonzero((spans[:, 0] >= start) & (spans[:, 1] <= end) & (spans[:, 1] > 0))
        for start, end in sentences
    ]
    offsets = offsets_of([len(row) for row in rows])
    gathered = vectors[np.concatenate(rows)] if rows else vectors[:0]
    matches = np.maximum(_spread(best_matches(query, gathered, offsets), spread), floor)
    scores = matches.sum(axis=1) / max(len(query), 1)
    subject = subject_of(question)
    return [
        Sentence(start, end, text[start:end], float(score) + _definition(text[start:end], subject))
        for (start, end), score in zip(sentences, scores, strict=True)
    ]


def _spread(cosines: Vectors, spread: float) -> Vectors:
    """Return cosines as those of MiniLM would be, none below 0."""
    similarities: Vectors = np.maximum(1 - spread * (1 - cosines), 0)
    return similarities


def _definition(sentence: str, subject: str | None) -> float:
    return DEFINITION if subject is not None and defines(sentence, subject) else 0.0
