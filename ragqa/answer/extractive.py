"""`extractive`, a model that `llm` knows: it answers with what the passages themselves say.

It needs no weights but those that come along and makes nothing up. Within ragqa it is given what a
cross-encoder read in the passages (answer/reading.py); called from `llm` itself it reads those in its prompt.
What of that is quoted, and with what, is answer/quoting.py's.

Where it fails: it quotes, so that it neither counts nor compares, and joins nothing that stands in two
places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import llm
from pydantic import Field

from ragqa.answer.citations import citation_marks
from ragqa.answer.context import parse
from ragqa.answer.quoting import WORDS, quotations
from ragqa.answer.reading import ReadText, read_texts
from ragqa.answer.refusal import REFUSAL
from ragqa.safety.untrusted import for_model

MODEL_ID = "extractive"

# Not only at the start of a line: llm joins piped text and the prompt with a space.
_QUESTION = re.compile(r"(?<!\S)Question:[ \t]*")
_MARKUP = re.compile(r"^(?:#{1,6}[ \t]+|[-*+][ \t]+|\d+[.)][ \t]+|>[ \t]?)")

_STOPS = (".", "!", "?", "…", "。", "！", "？")
# The citation of code goes on a line of its own, so that the code can be copied.
_ENDS_IN_CODE = re.compile(r"(?:```|~~~|\n(?: {4}|\t)[^\n]*)\Z")


@dataclass(frozen=True, slots=True)
class NumberedText:
    """What was read in a passage, and the number by which an answer cites it."""

    number: int
    read: ReadText


@dataclass(frozen=True, slots=True)
class Quote:
    """A text that is part of the answer, and the number of the passage it is from."""

    number: int
    text: str


class Extractive(llm.Model):
    """Answers with quotations of the numbered passages in its prompt, each with its citation."""

    model_id = MODEL_ID
    can_stream = True
    # What the caller has read already; None: read the passages in the prompt.
    read: Sequence[NumberedText] | None = None

    class Options(llm.Options):
        words: int = Field(
            default=WORDS, ge=1, le=1000, description="How many words to answer with, about, at most"
        )
        sentences: int = Field(
            default=20,
            ge=1,
            le=20,
            description="How many sentences, items or blocks of code to quote at most, with what they need",
        )

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.Response, conversation: Any
    ) -> Iterator[str]:
        read = _read_prompt(prompt.prompt or "") if self.read is None else self.read
        options = self.Options.model_validate(prompt.options.model_dump())
        quotes = choose(read, options.words, options.sentences)
        if not quotes:
            yield REFUSAL
            return
        for place, quote in enumerate(quotes):
            yield (_gap(quotes[place - 1].text, quote.text) if place else "") + say(quote)


def choose(read: Sequence[NumberedText], words: int = WORDS, sentences: int | None = None) -> list[Quote]:
    """Return what to quote of passages, best first, as answer/quoting.py has it."""
    found = quotations([one.read for one in read], words, sentences)
    return [Quote(read[one.place].number, one.text) for one in found]


def _gap(before: str, after: str) -> str:
    """Return what stands between two sentences: what has no full stop, or several lines, stands alone."""
    return " " if "\n" not in before + after and before.rstrip("\"'”’)*_`").endswith(_STOPS) else "\n\n"


def say(quote: Quote) -> str:
    """Return a quotation with its citation, and one line without its list or heading mark.

    Numbers in brackets that are its own are no citations here, and become (n).
    """
    text = for_model(quote.text)
    if "\n" not in text:
        text = _MARKUP.sub("", text)
    for own in citation_marks(text):
        text = f"{text[: own.start()]}({own[0][1:-1]}){text[own.end() :]}"
    mark = "\n" if _ENDS_IN_CODE.search(text.rstrip()) else " "
    return f"{text}{mark}[{quote.number}]"


def _read_prompt(prompt: str) -> list[NumberedText]:
    """Read the passages in a prompt with the question that stands after them.

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
    from ragqa.encoders.onnx_engine import LeanPairs

    read = read_texts(LeanPairs(), questions[-1].strip(), [(text, 0) for _, text in context.blocks])
    return [NumberedText(number, text) for (number, _), text in zip(context.blocks, read, strict=True)]
