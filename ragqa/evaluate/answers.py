"""`python -m ragqa.evaluate.answers`: how often a model's answer holds the right one, and cites its document.

An answer is right when it contains one of the golden answers, both normalised as SQuAD's evaluation
does (Rajpurkar et al. 2016, arXiv:1606.05250): lower case, without punctuation and articles.
"""

from __future__ import annotations

import json as jsonlib
import random
import re
import statistics
import string
import time
from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli import show
from ragqa.cli.options import ModelName
from ragqa.cli.question import open_pipeline
from ragqa.cli.run import run

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return `text` as SQuAD's evaluation compares it."""
    words = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()
    return " ".join(words)


def contains_answer(text: str, golden: list[str]) -> bool:
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
    records = [jsonlib.loads(line) for line in questions.read_text("utf-8").splitlines() if line.strip()]
    answerable = [record for record in records if record.get("golden_answers")]
    drawn = random.Random(seed).sample(answerable, min(sample, len(answerable)))
    print("| config | questions | answer held | relevant cited | s/question |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in config:
        held, cited, times = 0, 0, []
        with open_pipeline(name, db, None) as pipeline, show.progress(name) as advance:
            for done, record in enumerate(drawn, 1):
                start = time.perf_counter()
                answer = pipeline.ask(record["question"], model=model, log=False)
                times.append(time.perf_counter() - start)
                held += contains_answer(answer.text, record["golden_answers"])
                documents = {citation.passage.document_id for citation in answer.citations}
                cited += bool(documents & {str(document) for document in record["relevant"]})
                advance(done, len(drawn))
        median = statistics.median(times)
        count = len(drawn)
        print(f"| {name} | {count} | {held / count:.2f} | {cited / count:.2f} | {median:.2f} |", flush=True)


if __name__ == "__main__":
    run(lambda: typer.run(table))
