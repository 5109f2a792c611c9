"""`python -m ragqa.evaluate.answers`: how often a model's answer holds the right one, and cites its document.

An answer is right when it contains one of the golden answers, both normalised as SQuAD's evaluation
does (Rajpurkar et al. 2016, arXiv:1606.05250): lower case, without punctuation and articles.
"""

from __future__ import annotations

import random
import re
import statistics
import string
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli import show
from ragqa.cli.options import ModelName
from ragqa.cli.question import open_pipeline
from ragqa.cli.run import run
from ragqa.errors import UsageError
from ragqa.evaluate.questions import load_questions

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return `text` as SQuAD's evaluation compares it."""
    words = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()
    return " ".join(words)


def contains_answer(text: str, golden: Sequence[str]) -> bool:
    """Tell whether `text` holds one of the golden answers as whole words."""
    padded = f" {normalise(text)} "
    return any(f" {normalise(answer)} " in padded for answer in golden if normalise(answer))


def table(
    questions: Annotated[Path, typer.Argument(help="A JSONL file with question, golden_answers, relevant.")],
    db: Annotated[Path, typer.Option(help="The corpus that the questions are asked of.")],
    config: Annotated[list[str], typer.Option("--config", "-c", help="A config. Can be repeated.")],
    model: ModelName = None,
    sample: Annotated[int, typer.Option(help="How many answerable questions, drawn with --seed.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Print, per config, how often the answer is right and cites a relevant document, and its time."""
    answerable = [question for question in load_questions(questions) if question.golden_answers]
    if not answerable:
        raise UsageError(f"No question of {questions} has golden_answers, so there is nothing to compare.")
    drawn = random.Random(seed).sample(answerable, min(sample, len(answerable)))
    print("| config | questions | answer held | relevant cited | s/question |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in config:
        held, cited, times = 0, 0, []
        with open_pipeline(name, db, None) as pipeline, show.progress(name) as advance:
            for done, question in enumerate(drawn, 1):
                start = time.perf_counter()
                answer = pipeline.ask(question.text, model=model, log=False)
                times.append(time.perf_counter() - start)
                held += contains_answer(answer.text, question.golden_answers)
                documents = {citation.passage.document_id for citation in answer.citations}
                cited += bool(documents & question.relevant.keys())
                advance(done, len(drawn))
        median = statistics.median(times)
        count = len(drawn)
        print(f"| {name} | {count} | {held / count:.2f} | {cited / count:.2f} | {median:.2f} |", flush=True)


if __name__ == "__main__":
    run(lambda: typer.run(table))
