"""Whether the passages found can answer a question at all, told before a model is asked.

Only the question and the token vectors of the passages are looked at, so that what it says does not
depend on which stages found them.

The rule. Two signals (Signals), a logistic regression over them, and a threshold. `match`: of each passage
the mean, over the words of the question weighted by their rarity, of the nearest token vector; the best
passage's. `lead`: how far that passage is above the first ten. Over four notes on coffee, tea, a bicycle and
tomatoes:

    How warm is green tea steeped?               match 0.71  lead 0.27  score 0.96  answered
    How long is green tea kept in the fridge?    match 0.41  lead 0.18  score 0.18  refused (below 0.3)
    Who painted the Mona Lisa with oil?          match 0.26  lead 0.15  score 0.02  refused

Where a cross-encoder puts a passage far ahead of the others, as where the words are other ones ("sencha", for
the note on green tea), the question is answered all the same (`stands_out`), but for `refuse: strict`.

A version that the question names ("1.0.21") and none of the passages does is no question for them (`unmet`):
to a model of word pieces 1.0.12 looks the same.

Where it fails: it tells whether the words of the question are there, not whether the answer is. A passage
that says everything but what was asked for looks answerable, and a question in other words than the
passage's does not.

PASSAGES: as many as a first stage's best commonly are about one thing. The weights, the threshold and what a
lacking passage counts as belong to the encoder (encoders/embedded/description.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.answer.evidence import EvidenceReader
from ragqa.answer.reading import READ
from ragqa.encoders.embedded.description import Fitted
from ragqa.encoders.embedded.vocabulary import tokenizer
from ragqa.encoders.tokens import Vectors
from ragqa.matching.encoded import EncodedText
from ragqa.types import ContextBlock, Hit

# So far ahead of the mean of the others (logits) a passage stands out.
AHEAD = 4.0
# What the cross-encoder makes of a passage that has nothing to do with the question.
UNRELATED = -11.0

# Two points or a letter make a version of a number: 3.11 is said in many ways, and is often left out.
_VERSION = re.compile(
    r"(?<![\w.])v?(?P<version>\d+(?:\.\d+){2,}(?:[a-z]+\d*)?|\d+\.\d+(?:a|b|rc|\.dev|\.post)\d+)(?!\w|\.\d)"
)

# How many passages are looked at. Where fewer were found, each that lacks counts as `typical_lead` behind.
PASSAGES = 10


@dataclass(frozen=True, slots=True)
class Signals:
    """What answerability is judged by: means of the best similarities of the question's tokens.

    `match` is the highest that a passage has over the question's words, which count the more the rarer
    they are. `lead` is how far the best passage is above the others, over all tokens alike: passages
    that merely are about the same thing match about the same.
    """

    match: float
    lead: float


def answerability(question: EncodedText, evidence: Sequence[EncodedText], fitted: Fitted) -> float:
    """Return how likely passages answer a question, from 0 to 1, were half of all questions answerable.

    `question` is encoded as one, and `evidence` are the passages found, best first, both by the model that
    `fitted` is of. 0 where nothing was found.
    """
    found = signals(question, evidence, fitted)
    return 0.0 if found is None else score(found, fitted.answerability)


def score(found: Signals, weights: Sequence[float]) -> float:
    """Return what a logistic regression with `weights`, the intercept first, makes of signals."""
    intercept, match, lead = weights
    return 1 / (1 + math.exp(-(intercept + match * found.match + lead * found.lead)))


def signals(question: EncodedText, evidence: Sequence[EncodedText], fitted: Fitted) -> Signals | None:
    """Return what is seen in the first PASSAGES of `evidence`; None where there is nothing to see."""
    parts = [part.vectors for part in evidence[:PASSAGES] if len(part.vectors)]
    query = question.vectors
    if not parts or not len(query):
        return None
    # One product for each passage: so small a one does not wait for other threads, nor for a busy core.
    similarities = np.stack([(part @ query.T).max(axis=0) for part in parts])
    weights = _rarity(question, fitted.first_word)
    matches = similarities @ weights / weights.sum()
    plain = similarities.mean(axis=1)
    behind = float((plain.max() - plain).sum()) + fitted.typical_lead * (PASSAGES - len(parts))
    return Signals(float(matches.max()), behind / (PASSAGES - 1))


def unmet(question: str, texts: Sequence[str]) -> list[str]:
    """Return the versions that a question names and none of the texts does."""
    named = dict.fromkeys(match["version"] for match in _VERSION.finditer(question))
    said = "\n".join(texts)
    return [
        version for version in named if not re.search(rf"(?<![\w.])v?{re.escape(version)}(?!\w|\.\d)", said)
    ]


def stands_out(scores: Sequence[float]) -> bool:
    """Tell whether the best of the first READ passages' scores, by a cross-encoder, is AHEAD of the others.

    Each passage that is lacking counts as UNRELATED.
    """
    best, *others = sorted([*scores, *[UNRELATED] * (READ - len(scores))], reverse=True)
    return bool(scores) and best - sum(others) / len(others) >= AHEAD


def hits_evidence(reader: EvidenceReader, hits: Sequence[Hit]) -> list[EncodedText]:
    """Return the evidence of the first PASSAGES of `hits`, each passage by itself."""
    return reader.read(
        [ContextBlock(hit.rank, (hit.passage,), (0,), hit.passage.text) for hit in hits[:PASSAGES]]
    )


def _rarity(question: EncodedText, first_word: int) -> Vectors:
    """Return how much each token counts: the logarithm of its place in the vocabulary, 0 for special ones.

    Another encoder than the embedded ones cuts a question otherwise: there every token counts the same.
    """
    ids = tokenizer().encode(question.text, add_special_tokens=False).ids
    words = question.spans[:, 1] > 0
    if words.sum() != len(ids) or not ids:
        return np.ones(len(words), np.float32)
    rarity = np.zeros(len(words), np.float32)
    rarity[words] = np.log(np.maximum(ids, first_word) / (first_word / 2))
    return rarity
