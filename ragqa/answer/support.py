"""Whether the passages that a sentence of an answer cites bear it out.

No language model is asked: token vectors tell whether a passage speaks of the same thing, and the
words themselves whether it has the sentence's numbers and names, to which vectors are nearly blind.

The rule. The content words of the sentence are looked for in the best place of the cited block, two sentences
and the title: `similar` is how near their vectors come, `said` the share of the words that stand there;
`numbers` and `names` count those that stand nowhere in the block. A logistic model makes support of it;
from 0.5 on the sentence is supported. One that stands in the block word for word is, by definition. By
"Green tea is steeped at **70 degrees** for two minutes.":

    Green tea is steeped at 70 degrees.          similar 0.74  said 1.0  numbers 0    0.90  supported
    Green tea is steeped at 80 degrees.          similar 0.66  said 0.8  numbers 1    0.14  unsupported
    Green tea is never steeped at 70 degrees.    similar 0.70  said 1.0  numbers 0    0.88  supported: wrong
    Tomatoes need sun.                           similar 0.07  said 0.0  numbers 0    0.07  wrong citation

Where it fails: a "not" and a "never", and who did what to whom, are seen by neither part. A sentence that is
supported need not answer the question.

The model's weights belong to the encoder (encoders/embedded/description.py). SPECIFIC, MOST_LACKING and
CLEARLY are set by hand; the weights were fitted with the first two as they are.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragqa.answer.citations import cited_numbers
from ragqa.answer.claims import Word, akin, claims_nothing, content_words, heads, unmarked
from ragqa.answer.evidence import TITLE, TITLE_SHARE
from ragqa.answer.sentences import Span, split_sentences
from ragqa.encoders.embedded.description import Fitted
from ragqa.encoders.tokens import Spans, TokenEncoder, Vectors
from ragqa.index.maxsim import best_matches, offsets_of
from ragqa.matching.encoded import EncodedText
from ragqa.types import CheckedSentence, Verdict

# Where the place that supports a sentence is looked for, a number or name counts for so many other words.
SPECIFIC = 2.0
# More numbers or names that are lacking say no more.
MOST_LACKING = 2
# A citation is wrong when the best block supports the sentence by so much more than what it cites.
CLEARLY = 0.2

Matrix = NDArray[np.float64]


class Features(NamedTuple):
    """What the support of a sentence is made of.

    `similar`: mean MaxSim of its content words in the best place of the blocks, two sentences and the
    title. `said`: the share of them that the blocks have. `numbers` and `names`: how many are lacking.
    """

    similar: float
    said: float
    numbers: float
    names: float


@dataclass(frozen=True, slots=True)
class SupportModel:
    """A logistic model of support: a sentence is supported from 0.5 on."""

    weights: Features
    intercept: float

    @classmethod
    def of(cls, fitted: Fitted) -> SupportModel:
        """Return the model that was fitted to an encoder's vectors."""
        return cls(Features(*fitted.support), fitted.support_intercept)

    def support(self, features: Features) -> float:
        """Return the support, from 0 to 1."""
        logit = self.intercept + sum(map(operator.mul, self.weights, features))
        return 1 / (1 + math.exp(-max(min(logit, 30.0), -30.0)))


SUPPORTED = 0.5
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,}).*$", re.M)


@dataclass(frozen=True, slots=True)
class Source:
    """A block of the context: the number that an answer cites it by, its evidence, its title and headings."""

    number: int
    evidence: EncodedText
    title: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sentence says, compared with the parts of all sources.

    `similar` and `said` have shape (parts, words): MaxSim of each content word, as 0 to 1 from unrelated
    words to the same one, and 1 where the part has the word.
    """

    words: Sequence[Word]
    similar: Matrix
    said: Matrix


@dataclass(frozen=True, slots=True)
class _Block:
    """A source by its parts, first its title, then its sentences; `rows` are theirs among all parts.

    `plain` are the words of the text, with a space around each; `stems` are those of the words of each part,
    `heads` all of them by their first letters.
    """

    plain: str
    rows: slice
    stems: tuple[frozenset[str], ...]
    heads: Mapping[str, Sequence[str]]


class SupportChecker:
    """Checks the sentences of an answer against the blocks of its context.

    Nothing in it changes, so any thread may use it. Sentences are encoded as documents, because some
    checkpoints cut questions off early. `fitted` is what was fitted to the encoder.
    """

    def __init__(self, sources: Sequence[Source], encoder: TokenEncoder, fitted: Fitted) -> None:
        self._encoder = encoder
        self._fitted = fitted
        self._model = SupportModel.of(fitted)
        self._blocks: dict[int, _Block] = {}
        rows: list[Vectors] = []
        for source in sources:
            parts = _parts(source)
            stems = tuple(frozenset(word.stem for word in content_words(text)) for _, text in parts)
            self._blocks[source.number] = _Block(
                plain_words(source.evidence.text),
                slice(len(rows), len(rows) + len(parts)),
                stems,
                heads(itertools.chain.from_iterable(stems)),
            )
            rows.extend(vectors for vectors, _ in parts)
        self._vectors = np.concatenate([np.zeros((0, encoder.dimensions), np.float32), *rows])
        self._offsets = offsets_of([len(row) for row in rows])

    def check(self, text: str, span: Span) -> CheckedSentence | None:
        """Check the sentence `text[start:end]` of an answer; None when it claims nothing."""
        sentence = text[slice(*span)]
        if claims_nothing(sentence):
            return None
        (claim,) = self.claims([unmarked(sentence)])
        return self._checked(text, span, claim)

    def claims(self, sentences: Sequence[str]) -> list[Claim]:
        """Compare sentences, without their citations, with all sources."""
        vectors = self._encoder.encode_documents(sentences)
        spans = self._encoder.document_spans(sentences)
        return [self._claim(*parts) for parts in zip(sentences, vectors, spans, strict=True)]

    def features(self, claim: Claim, numbers: Collection[int]) -> Features:
        """Return what speaks for a claim in the blocks of these numbers, taken together."""
        return _features(claim, [self._blocks[number] for number in numbers])

    def verbatim(self, sentence: str) -> set[int]:
        """Return the numbers of the blocks that have a sentence, without its citations, word for word."""
        plain = plain_words(sentence)
        return {number for number, block in self._blocks.items() if plain in block.plain}

    def _claim(self, sentence: str, vectors: Vectors, spans: Spans) -> Claim:
        words = content_words(sentence)
        shape = (len(self._offsets) - 1, len(words))
        parts = itertools.chain.from_iterable(block.stems for block in self._blocks.values())
        said = np.array([[w.stem in stems for w in words] for stems in parts], dtype=np.float64).reshape(
            shape
        )
        for place, word in enumerate(words):
            if word.kind == "name" and not said[:, place].all():
                for block in self._blocks.values():
                    if not said[block.rows, place].any() and akin(word.stem, block.heads):
                        said[block.rows, place] = 1.0
        # A word's similarity is the mean of its tokens'. What the encoder did not read counts by its letters.
        tokens = [(spans[:, 0] >= word.start) & (spans[:, 1] <= word.end) for word in words]
        share = np.array(tokens, dtype=np.float64).reshape(len(words), len(spans))
        counts = share.sum(axis=1)
        cosines = (
            best_matches(vectors, self._vectors, self._offsets) @ (share / np.maximum(counts, 1)[:, None]).T
        )
        unrelated, same = self._fitted.unrelated, self._fitted.same
        similar = np.where(counts > 0, np.clip((cosines - unrelated) / (same - unrelated), 0, 1), said)
        return Claim(words, similar, said)

    def _checked(self, text: str, span: Span, claim: Claim) -> CheckedSentence:
        verbatim = self.verbatim(unmarked(text[slice(*span)]))
        by_block = {
            number: 1.0 if number in verbatim else self._support(claim, [number]) for number in self._blocks
        }
        best = max(by_block, key=lambda number: by_block[number], default=None)
        cited = [number for number in cited_numbers(text[slice(*span)]) if number in by_block]
        support = max((by_block[number] for number in cited or by_block), default=0.0)
        if len(cited) > 1:
            # One block may have one half of the sentence and another the other.
            support = max(support, self._support(claim, cited))
        return CheckedSentence(
            start=span[0],
            end=span[1],
            text=text[slice(*span)],
            cited=tuple(cited),
            by_block=by_block,
            support=support,
            best=best,
            verdict=verdict(support, max(by_block.values(), default=0.0)),
        )

    def _support(self, claim: Claim, numbers: Collection[int]) -> float:
        return self._model.support(self.features(claim, numbers))


def plain_words(text: str) -> str:
    """Return the words of a text in small letters, a space around each, fences of code left out."""
    words = re.findall(r"[^\W_]+", _FENCE.sub("", text).lower())
    return f" {' '.join(words)} "


def verdict(support: float, best: float) -> Verdict:
    """Return what to say of a sentence with this support by what it cites, and by the best block."""
    if support >= SUPPORTED:
        return "supported"
    return "wrong citation" if best >= max(SUPPORTED, support + CLEARLY) else "unsupported"


def _parts(source: Source) -> list[tuple[Vectors, str]]:
    """Return the token vectors and the text of a source's title and of each of its sentences."""
    text, vectors, spans = source.evidence.text, source.evidence.vectors, source.evidence.spans
    parts = [(vectors[spans[:, 0] == TITLE], source.title)]
    for start, end in split_sentences(text) or [(0, len(text))]:
        inside = (spans[:, 0] >= start) & (spans[:, 1] <= end) & (spans[:, 1] > 0)
        parts.append((vectors[inside], text[start:end]))
    return parts


def _features(claim: Claim, blocks: Sequence[_Block]) -> Features:
    numbers = np.array([word.kind == "number" for word in claim.words])
    names = np.array([word.kind == "name" for word in claim.words])
    weights = np.where(numbers | names, SPECIFIC, 1.0)
    similar = np.max([_best_place(claim, block, weights) for block in blocks], axis=0)
    said = np.max([claim.said[block.rows].max(axis=0) for block in blocks], axis=0)
    lacking = said == 0
    return Features(
        similar=float(similar.mean()),
        said=float(said.mean()),
        numbers=float(min((numbers & lacking).sum(), MOST_LACKING)),
        names=float(min((names & lacking).sum(), MOST_LACKING)),
    )


def _best_place(claim: Claim, block: _Block, weights: Matrix) -> Matrix:
    """Return how similar each word is to something in the two sentences of a block that match best.

    The title counts as said in each sentence, at TITLE_SHARE.
    """
    similar = claim.similar[block.rows]
    credit = np.maximum(similar, claim.said[block.rows])
    following = np.vstack([credit[2:], credit[-1:]])
    places = np.maximum(np.maximum(credit[1:], following), TITLE_SHARE * credit[0])
    best = 1 + int(np.argmax(places @ weights))
    place: Matrix = np.maximum(similar[best : best + 2].max(axis=0), TITLE_SHARE * similar[0])
    return place
