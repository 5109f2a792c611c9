"""Where in the passages found the answer stands: a cross-encoder reads each with the question.

The rule. Question and passage go through the model together, title and headings before the text. Its states
say of each token of the passage how much it looks like part of an answer (`Reading.evidence`: one linear
layer, fitted to questions whose answers are known). Over all tokens of all passages that were read those
numbers become shares of one, as by softmax, and a unit of a passage (answer/units.py) has the sum of its
tokens' shares: how likely the answer stands in it, were there one. What a heading or a question has goes to
what follows it.

For "How warm is green tea steeped?", asked of four notes on coffee, tea, a bicycle and tomatoes:

    0.92  Green tea is steeped at **70 degrees** for two minutes.
    0.08  kettle --temp 70
    0.00  - Black tea wants boiling water.

Where it fails: shares are relative. Where no passage answers, something has the largest share all the same;
what tells that is answer/answerable.py. Of an answer that is put together from several sentences each looks
weak.

READ: the answer is in the first five passages for .97 to .99 of the questions of three collections, and five
of 200 tokens take a tenth of a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragqa.answer.units import Unit, split_units
from ragqa.corpus.chunking import has_prose
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS, count_tokens
from ragqa.encoders.tokens import Vectors
from ragqa.language.definitions import echoes
from ragqa.types import Passage

if TYPE_CHECKING:
    from ragqa.encoders.onnx_engine import LeanPairs

# How many passages are read.
READ = 5
# Tokens of a pair that are left to a question and what marks the parts.
ROOM = MAX_TOKENS - 64


@dataclass(frozen=True, slots=True)
class Evidence:
    """A unit with its `share` of the evidence, from 0 to 1; most of it stands at the character `peak`."""

    unit: Unit
    share: float
    peak: int


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text that was read with a question: the pair's score (a logit), and its units in reading order.

    Units that can be no answer have no share: headings, questions, images, what says the question again.
    """

    text: str
    score: float
    evidence: tuple[Evidence, ...]


class PassageReader:
    """Reads passages with one question, each passage once; `pairs` loads the model when it is needed."""

    def __init__(self, question: str, pairs: Callable[[], LeanPairs]) -> None:
        self._question = question
        self._pairs = pairs
        self._read: dict[tuple[str, ...], list[ReadText]] = {}

    def read(self, passages: Sequence[Passage]) -> list[ReadText]:
        """Return what is read in each of the first READ passages; shares are of all of them."""
        first = passages[:READ]
        key = tuple(passage.id for passage in first)
        if key not in self._read:
            texts = [indexed_text(passage) for passage in first]
            self._read[key] = read_texts(self._pairs(), self._question, texts)
        return self._read[key]


def read_texts(pairs: LeanPairs, question: str, texts: Sequence[tuple[str, int]]) -> list[ReadText]:
    """Return what is read in texts, each with the length of what stands before its own words (a title)."""
    bodies = [text[prefix:] for text, prefix in texts]
    cut = [split_units(body) for body in bodies]
    parts = [
        (place, start, end)
        for place, ((text, prefix), units) in enumerate(zip(texts, cut, strict=True))
        for start, end in _parts(text[:prefix], bodies[place], units)
    ]
    before = [text[:prefix] for text, prefix in texts]
    readings = pairs.read(question, [before[place] + bodies[place][start:end] for place, start, end in parts])
    scores = [-math.inf] * len(texts)
    places: list[list[NDArray[np.int32]]] = [[] for _ in texts]
    evidence: list[list[Vectors]] = [[] for _ in texts]
    for (place, start, _), reading in zip(parts, readings, strict=True):
        prefix = texts[place][1]
        own = (reading.spans[:, 0] >= prefix) & (reading.spans[:, 1] > 0)
        scores[place] = max(scores[place], reading.score)
        places[place].append(reading.spans[own, 0] - prefix + start)
        evidence[place].append(reading.evidence[own])
    shares = _softmax([np.concatenate([*found, np.zeros(0)]) for found in evidence])
    return [
        ReadText(
            body, score, tuple(_evidence(question, body, units, np.concatenate([*at, np.zeros(0)]), share))
        )
        for body, score, units, at, share in zip(bodies, scores, cut, places, shares, strict=True)
    ]


def _parts(before: str, body: str, units: Sequence[Unit]) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a text that are read at a time: all of it, unless it is too long for a pair."""
    start, end = (units[0].start, units[-1].end) if units else (0, len(body))
    if len(units) < 2 or count_tokens(before + body[start:end]) <= ROOM:
        yield start, end
        return
    middle = len(units) // 2
    for half in (units[:middle], units[middle:]):
        yield from _parts(before, body, half)


def _softmax(columns: Sequence[Vectors]) -> list[Vectors]:
    """Return the softmax over all numbers of all columns."""
    highest = max((float(column.max()) for column in columns if len(column)), default=0.0)
    powers = [np.exp(column - highest) for column in columns]
    total = sum(float(column.sum()) for column in powers) or 1.0
    return [column / total for column in powers]


def _evidence(
    question: str, text: str, units: Sequence[Unit], places: Vectors, shares: Vectors
) -> Iterator[Evidence]:
    """Yield the units with the shares of their tokens, which begin at `places` in the text."""
    handed_on = 0.0
    for unit in units:
        inside = (places >= unit.start) & (places < unit.end)
        share = float(shares[inside].sum()) + handed_on
        said = text[unit.start : unit.end]
        if unit.kind == "heading" or said.rstrip("*_ ").endswith("?") or echoes(said, question):
            handed_on = share
            yield Evidence(unit, 0.0, unit.start)
            continue
        handed_on = 0.0
        peak = int(places[inside][np.argmax(shares[inside])]) if inside.any() else unit.start
        yield Evidence(unit, share if unit.kind == "code" or has_prose(said) else 0.0, peak)
