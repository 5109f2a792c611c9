"""How good an answer is against the right ones: the field's definitions, each for one question.

Answers are compared as SQuAD's evaluation does (Rajpurkar et al. 2016, arXiv:1606.05250): in lower
case, without punctuation and articles; an answer is worth what it is worth against the golden answer
that it is closest to. Citation marks are no part of it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

from ragqa.answer.citations import MARK

_MARK = re.compile(rf"\s*{MARK}")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def without_marks(text: str) -> str:
    """Return an answer without its [n] marks."""
    return _MARK.sub("", text)


def normalise(text: str) -> str:
    """Return `text` as SQuAD's evaluation compares it."""
    words = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()
    return " ".join(words)


def contains_answer(text: str, golden: Sequence[str]) -> bool:
    """Tell whether `text` holds one of the golden answers as whole words."""
    padded = f" {normalise(text)} "
    return any(f" {normalise(answer)} " in padded for answer in golden if normalise(answer))


def exact_match(text: str, golden: Sequence[str]) -> bool:
    """Tell whether `text` is one of the golden answers."""
    return any(normalise(text) == normalise(answer) for answer in golden)


def token_f1(text: str, golden: Sequence[str]) -> float:
    """Return the harmonic mean of the precision and recall of the words of `text`, counted as a bag."""
    return max((_f1(normalise(text).split(), normalise(answer).split()) for answer in golden), default=0.0)


def rouge_l(text: str, golden: Sequence[str]) -> float:
    """Return ROUGE-L, the same with the longest common subsequence of words as what both have.

    F-measure with precision and recall weighing the same, words being runs of letters and digits,
    without stemming, as the package rouge-score counts it (Lin 2004, W04-1013).
    """

    def words(of: str) -> list[str]:
        return re.findall(r"[a-z0-9]+", of.lower())

    return max(
        (_f_measure(_common(words(text), words(one)), words(text), words(one)) for one in golden), default=0.0
    )


def citation_precision(cited: Collection[str], relevant: Collection[str]) -> float:
    """Return the share of the cited documents that are relevant; 0 where nothing is cited."""
    return len(set(cited) & set(relevant)) / len(set(cited)) if cited else 0.0


def citation_recall(cited: Collection[str], relevant: Collection[str]) -> float:
    """Return the share of the relevant documents that are cited; 0 where none is relevant."""
    return len(set(cited) & set(relevant)) / len(set(relevant)) if relevant else 0.0


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    return _f_measure((Counter(said) & Counter(right)).total(), said, right)


def _f_measure(common: int, said: Sequence[str], right: Sequence[str]) -> float:
    return 2 * common / (len(said) + len(right)) if common else 0.0


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, there in enumerate(other, 1):
            above = row[place]
            row[place] = diagonal + 1 if word == there else max(above, row[place - 1])
            diagonal = above
    return row[-1]
