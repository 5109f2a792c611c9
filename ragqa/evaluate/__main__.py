"""`python -m ragqa.evaluate`: the table of configs by metrics over judged question sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli import show
from ragqa.cli.question import open_pipeline
from ragqa.cli.run import run
from ragqa.evaluate.questions import load_questions
from ragqa.evaluate.retrieval import evaluate
from ragqa.operations import build_index

METRICS = "nDCG@10,R@100,RR@10"


def table(
    questions: Annotated[Path, typer.Argument(help="A BEIR folder or a JSONL file of questions.")],
    db: Annotated[Path, typer.Option(help="The corpus that the questions are asked of.")],
    config: Annotated[list[str], typer.Option("--config", "-c", help="A config. Can be repeated.")],
    metrics: Annotated[str, typer.Option(help="Any names that ir-measures knows.")] = METRICS,
    json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print a row of metrics and the median milliseconds per question for each config.

    What a config searches is indexed first, so that no question pays for it.
    """
    names = [name.strip() for name in metrics.split(",")]
    judged = load_questions(questions)
    if not json:
        print("| config | " + " | ".join(names) + " | ms/question |")
        print("| --- |" + " ---: |" * (len(names) + 1), flush=True)
    rows = []
    for name in config:
        with open_pipeline(name, db, None) as pipeline, show.progress(name) as advance:
            build_index(pipeline, on_passages=advance)
            row = evaluate(pipeline, judged, names, advance)
        rows.append({"config": row.config, "questions": row.questions, **row.metrics, "ms": row.median_ms})
        if not json:
            cells = " | ".join(f"{row.metrics[metric]:.3f}" for metric in names)
            print(f"| {row.config} | {cells} | {row.median_ms:.0f} |", flush=True)
    if json:
        show.print_json(rows)


if __name__ == "__main__":
    run(lambda: typer.run(table))
