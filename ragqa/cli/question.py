"""Commands that take a question: search, context, ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragqa.cli import show
from ragqa.cli.options import (
    ConfigName,
    Db,
    Device,
    Json,
    ModelName,
    ModelOptions,
    Question,
    model_options,
)

if TYPE_CHECKING:
    from ragqa.pipeline import Pipeline

Timings = Annotated[bool, typer.Option("--timings", help="Say on stderr how long each stage took.")]


def search(
    question: Question,
    config: ConfigName = "default",
    k: Annotated[int | None, typer.Option("-k", min=1, help="How many passages.")] = None,
    db: Db = None,
    device: Device = None,
    show_query: Annotated[
        bool, typer.Option("--show-query", help="Print the full-text match expression on stderr.")
    ] = False,
    timings: Timings = False,
    json: Json = False,
) -> None:
    """Show the passages that match a question best.

    Example: ragqa search "what is shot-scraper?" -c fts -k 3
    """
    with open_pipeline(config, db, device) as pipeline:
        if show_query:
            show.note(f"Match expression: {pipeline.match_expression(question)}")
        result = pipeline.search(question, k)
    if json:
        show.print_json(show.search_json(result))
    elif not result.hits:
        show.note("No passage matches.")
    else:
        show.print_hits(result.hits)
    if timings:
        show.print_timings(result.timings_ms)


def context(
    question: Question,
    config: ConfigName = "default",
    model: ModelName = None,
    db: Db = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Print the context that a model would be given, and nothing else.

    Example: ragqa context "what is shot-scraper?" | llm -s "Answer from these passages"
    """
    with open_pipeline(config, db, device) as pipeline:
        result, assembled = pipeline.context(question, model)
    if json:
        show.print_json(show.context_json(result, assembled))
    elif assembled.text:
        print(show.plain(assembled.text))
    else:
        show.note("No passage matches.")


def ask(
    question: Question,
    config: ConfigName = "default",
    model: ModelName = None,
    option: ModelOptions = None,
    db: Db = None,
    device: Device = None,
    no_log: Annotated[bool, typer.Option("--no-log", "-n", help="Do not log to llm's database.")] = False,
    timings: Timings = False,
    json: Json = False,
) -> None:
    """Answer a question from the documents, citing them.

    Example: ragqa ask "what is shot-scraper?" -m gpt-4o-mini -o temperature 0
    """

    def write(text: str) -> None:
        sys.stdout.write(show.plain(text))
        sys.stdout.flush()

    with open_pipeline(config, db, device) as pipeline:
        answer = pipeline.ask(
            question,
            model=model,
            options=model_options(option),
            log=not no_log,
            on_text=(lambda text: None) if json else write,
        )
    if json:
        show.print_json(show.answer_json(answer))
    else:
        print()
        show.print_sources(answer)
    if timings:
        show.print_timings(answer.timings_ms)


def compare(
    question: Question,
    config: Annotated[
        list[str] | None, typer.Option("--config", "-c", help="A config. Repeat it for each.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages each config finds.")] = 10,
    answers: Annotated[bool, typer.Option("--answers", help="Let each config answer, too.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Let this model answer from each config. Can be repeated."),
    ] = None,
    db: Db = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Ask several configs, or several models, the same question and show the results side by side.

    Example: ragqa compare "what is shot-scraper?" -c fts -c dense -c hybrid -c fts-colbert
    """
    from ragqa.compare import ask_all

    names = config or ["fts", "dense", "default"]
    with ExitStack() as stack:
        pipelines = [stack.enter_context(open_pipeline(name, db, device)) for name in dict.fromkeys(names)]
        own: list[str | None] = [None] if answers else []
        compared = ask_all(pipelines, question, k, model or own)
    if json:
        show.print_json(show.comparison_json(compared))
    else:
        show.print_comparison(compared)


@contextmanager
def open_pipeline(config: str, db: Path | None, device: str | None) -> Iterator[Pipeline]:
    """Open the corpus and the stages of a config, with `device` instead of its own where given."""
    from ragqa.config import load_config
    from ragqa.pipeline import Pipeline, open_corpus

    loaded = load_config(config)
    if device is not None:
        loaded = loaded.model_copy(update={"device": device})
    with open_corpus(loaded, db) as corpus:
        yield Pipeline(loaded, corpus, show.note)
