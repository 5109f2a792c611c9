"""`extractive`, a model that `llm` knows: it answers with the passages' own sentences that match best.

It needs no weights of its own and makes nothing up. Within ragqa it is given sentences scored from
the stored token vectors; called from `llm` itself it scores the passages in its prompt.

The rule. Sentences are scored by late interaction with the question (answer/evidence.py); the place of their
passage in the context costs each PLACE; the best is taken, then others that reach NEARLY of its score, say
nothing that was said and do not end in a colon, up to `sentences`. For "How warm is green tea steeped?":

    0.619  Green tea is steeped at **70 degrees** for two minutes.    taken
    0.479  kettle --temp 70                                           0.479 < 0.85 * 0.619: not taken
    0.438  - Black tea wants boiling water.

Where it fails: it takes what resembles the question, which need not be what answers it. "What is a French
press?" gets "Grind the beans medium for a paper filter, and coarse for a French press.": the only sentence
with the words. Of a problem and its remedy it takes the problem, when the question tells that.

PLACE is small beside the differences between sentences (0.14 above) and decides among near ones: the passage
that ranks first is likelier to be about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import llm
from pydantic import Field

from ragqa.answer.citations import citation_marks
from ragqa.answer.context import parse
from ragqa.answer.evidence import NEARLY, rank_texts
from ragqa.answer.refusal import REFUSAL
from ragqa.encoders.device import Compute
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.safety.untrusted import for_model

MODEL_ID = "extractive"
# What each place further down the context costs a sentence.
PLACE = 0.01

# Not only at the start of a line: llm joins piped text and the prompt with a space.
_QUESTION = re.compile(r"(?<!\S)Question:[ \t]*")
_MARKUP = re.compile(r"^(?:#{1,6}[ \t]+|[-*+][ \t]+|\d+[.)][ \t]+|>[ \t]?)")

_STOPS = (".", "!", "?", "…", "。", "！", "？")
# The citation of code goes on a line of its own, so that the code can be copied.
_ENDS_IN_CODE = re.compile(r"(?:```|~~~|\n(?: {4}|\t)[^\n]*)\Z")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may become part of the answer, and the number of the passage it is from."""

    number: int
    text: str
    score: float


class Extractive(llm.Model):
    """Answers with sentences of the numbered passages in its prompt, each with its citation."""

    model_id = MODEL_ID
    can_stream = True
    # Sentences that the caller has scored already; None: score those in the prompt.
    candidates: Sequence[Candidate] | None = None

    class Options(llm.Options):
        sentences: int = Field(default=2, ge=1, le=20, description="How many sentences to answer with")

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.Response, conversation: Any
    ) -> Iterator[str]:
        candidates = self.candidates
        if candidates is None:
            candidates = _score_prompt(prompt.prompt or "")
        chosen = choose(candidates, int(getattr(prompt.options, "sentences", 2)))
        if not chosen:
            yield REFUSAL
            return
        for place, candidate in enumerate(chosen):
            yield (_gap(chosen[place - 1].text, candidate.text) if place else "") + say(candidate)


def choose(candidates: Sequence[Candidate], limit: int) -> list[Candidate]:
    """Return the `limit` best candidates or fewer: none said twice, none much weaker than the best.

    One that ends in a colon announces something that is not there, so any other goes before it. Each
    place further down the context costs PLACE, because what ranks first is likelier to be about it.
    """
    candidates = [
        replace(candidate, score=candidate.score - PLACE * (candidate.number - 1)) for candidate in candidates
    ]
    whole = [candidate for candidate in candidates if not candidate.text.endswith(":")]
    chosen: list[Candidate] = []
    said: list[str] = []
    for candidate in sorted(whole or candidates, key=lambda candidate: -candidate.score):
        words = " ".join(re.findall(r"\w+", candidate.text.lower()))
        if len(chosen) == limit or (chosen and candidate.score < NEARLY * chosen[0].score):
            break
        if words and not any(words in other or other in words for other in said):
            chosen.append(candidate)
            said.append(words)
    return chosen


def _gap(before: str, after: str) -> str:
    """Return what stands between two sentences: what has no full stop, or several lines, stands alone."""
    return " " if "\n" not in before + after and before.rstrip("\"'”’)*_`").endswith(_STOPS) else "\n\n"


def say(candidate: Candidate) -> str:
    """Return a sentence with its citation, and without its list or heading mark.

    Numbers in brackets that are the sentence's own are no citations here, and become (n).
    """
    text = _MARKUP.sub("", for_model(candidate.text))
    for own in citation_marks(text):
        text = f"{text[: own.start()]}({own[0][1:-1]}){text[own.end() :]}"
    mark = "\n" if _ENDS_IN_CODE.search(text.rstrip()) else " "
    return f"{text}{mark}[{candidate.number}]"


def _score_prompt(prompt: str) -> list[Candidate]:
    """Score the sentences of the passages in a prompt by the question that stands after them.

    What a passage says is quoted, so that a question in it is not asked.
    """
    context = parse(prompt)
    _, *questions = _QUESTION.split(context.after)
    if not context.blocks or not questions or not questions[-1].strip():
        raise llm.ModelError(
            "extractive answers from numbered passages: give it a prompt with lines that begin "
            "'[1] title', then the passage with '> ' before each line, and after the last one a line "
            "'Question: ...' (ragqa context makes the passages)"
        )
    encoder = load_encoder(EncoderSettings(), Compute("cpu"))
    ranked = rank_texts(encoder, questions[-1], [text for _, text in context.blocks])
    return [
        Candidate(number, sentence.text, sentence.score)
        for (number, _), sentences in zip(context.blocks, ranked, strict=True)
        for sentence in sentences
    ]
