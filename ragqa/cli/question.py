"""Commands that take a question: search, context, ask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragqa.answer import remarks
from ragqa.answer.events import Event, Found, fold
from ragqa.cli import show, show_answer
from ragqa.cli.options import (
    ConfigName,
    Db,
    Device,
    Explain,
    Json,
    ModelName,
    ModelOptions,
    NoLog,
    NoPager,
    Passages,
    PromptName,
    Question,
    Refuse,
    Where,
    config_option,
    model_option,
    model_options,
)
from ragqa.cli.paging import paged
from ragqa.errors import RagqaError, UsageError
from ragqa.service import forms

if TYPE_CHECKING:
    from ragqa.pipeline import Pipeline
    from ragqa.types import Answer, Conversation, Explanation, SearchResult

Timings = Annotated[bool, typer.Option("--timings", help="Say on stderr how long each stage took.")]


def search(
    question: Question,
    config: ConfigName = "default",
    k: Passages = None,
    where: Where = None,
    db: Db = None,
    device: Device = None,
    show_query: Annotated[
        bool, typer.Option("--show-query", help="Print the full-text match expression on stderr.")
    ] = False,
    explain: Explain = False,
    full: Annotated[
        bool, typer.Option("--full", help="Show whole passages, not only how they begin.")
    ] = False,
    no_pager: NoPager = False,
    timings: Timings = False,
    json: Json = False,
) -> None:
    """Show the passages that match a question best.

    Each has its title, its id (of the document, then # and a number), and what each stage scored it. With
    --full or --explain, what is longer than the screen goes through a pager on a terminal.

    Example: ragqa search "what is shot-scraper?" -c fts -k 3
    Example: ragqa search "how do I count rows?" --where "topic = 'sqlite' AND created >= '2021'"
    Example: ragqa search --full - < question.txt
    Example: ragqa search "what is shot-scraper?" --json | jq -r '.hits[].document_id'
    """
    with open_pipeline(config, db, device, where) as pipeline:
        if show_query:
            show.note(f"Match expression: {pipeline.match_expression(question)}")
        result = pipeline.search(question, k)
        explanation = pipeline.explain(result) if explain else None
    if json and explanation is not None:
        show.print_json(forms.explanation_json(explanation))
    elif json:
        show.print_json(forms.search_json(result))
    elif not result.hits:
        show.note("No passage matches.")
    else:
        with paged(not no_pager and (full or explain)):
            if explanation is not None:
                from ragqa.cli import show_explanation

                show_explanation.print_explanation(explanation)
            else:
                show.print_hits(result.hits, full)
    if timings:
        show.print_timings(result.timings_ms)


def context(
    question: Question,
    config: ConfigName = "default",
    model: ModelName = None,
    where: Where = None,
    db: Db = None,
    device: Device = None,
    no_pager: NoPager = False,
    json: Json = False,
) -> None:
    """Print the context that a model would be given, and nothing else.

    Its passages are numbered; how many there are depends on what the model can read. What is longer than the
    screen goes through a pager on a terminal.

    Example: ragqa context "what is shot-scraper?" | llm -s "Answer from these passages"
    Example: ragqa context "what is shot-scraper?" -m SmolLM2 --json
    """
    with open_pipeline(config, db, device, where) as pipeline:
        result, assembled = pipeline.context(question, model)
    if json:
        show.print_json(forms.context_json(result, assembled))
    elif assembled.text:
        with paged(not no_pager):
            show.say_text(assembled.text)
    else:
        show.note("No passage matches.")


def ask(
    question: Question,
    config: ConfigName = "default",
    model: ModelName = None,
    option: ModelOptions = None,
    prompt: PromptName = None,
    resume: Annotated[
        bool, typer.Option("--continue", help="A follow-up to the last question in llm's log.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 when a sentence is not supported by what it cites.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not check the sentences of the answer.")
    ] = False,
    refuse: Refuse = None,
    explain: Explain = False,
    where: Where = None,
    db: Db = None,
    device: Device = None,
    no_log: NoLog = False,
    timings: Timings = False,
    json: Json = False,
) -> None:
    """Answer a question from the documents, citing them.

    Each sentence of the answer is checked by the passages that it cites. Any model of llm can answer; without
    -m it is the default that you set in llm, else extractive, which quotes and makes nothing up. The exchange
    is logged by llm, for `llm logs` and for --continue. When the model fails, or is silent for too long, the
    passages that were found are shown instead. With --strict the exit code is 3 when a sentence is not
    supported by what it cites.

    Example: ragqa ask "what is shot-scraper?"
    Example: ragqa ask "what is shot-scraper?" -m gpt-4o-mini -o temperature 0
    Example: ragqa ask --continue "and how is it installed?"
    Example: ragqa ask -q --strict - < question.txt
    """
    if strict and no_check:
        raise UsageError("--strict needs the check that --no-check turns off.")
    check = True if strict else False if no_check else None
    with open_pipeline(config, db, device, where, prompt=prompt, check=check, refuse=refuse) as pipeline:
        settings = model_options(option)
        conversation = None
        if resume:
            question, conversation = _followed_up(pipeline, question.strip(), model, settings)
        printer = show_answer.AnswerPrinter(pipeline.config.check, quiet=json)
        found: list[SearchResult] = []

        def take(event: Event) -> None:
            if isinstance(event, Found):
                found.append(event.result)
            printer.take(event)

        try:
            events = pipeline.events(
                question, model=model, options=settings, conversation=conversation, log=not no_log
            )
            answer = fold(events, take)
        except RagqaError:
            if found and not json:
                _print_found(found[0])
            raise
        explanation = pipeline.explain(answer.search) if explain else None
    _finish(answer, explanation, json)
    if timings:
        show.print_timings(answer.timings_ms)
    if strict and not remarks.holds(answer):
        show.note("Not every sentence is supported by what it cites.")
        raise typer.Exit(3)


def _followed_up(
    pipeline: Pipeline, asked: str, model: str | None, settings: dict[str, Any] | None
) -> tuple[str, Conversation]:
    """Return a follow-up as a question that stands alone, which is said, and what was said before."""
    question, conversation = pipeline.follow_up(asked, model=model, options=settings)
    if question != asked:
        show.note(f"Searched for: {question}")
    return question, conversation


def compare(
    question: Question,
    config: Annotated[
        list[str] | None,
        config_option("A config. Repeat it for each. Default: fts, dense and default."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages each config finds.")] = 10,
    answers: Annotated[bool, typer.Option("--answers", help="Let each config answer, too.")] = False,
    model: Annotated[
        list[str] | None,
        model_option("Let this model answer from each config. Can be repeated."),
    ] = None,
    where: Where = None,
    db: Db = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Ask several configs or models the same question, and show the results side by side.

    Shown are the rank that each config gives a passage, how much their rankings overlap, and their times.

    Example: ragqa compare "what is shot-scraper?" -c fts -c dense -c hybrid -c fts-colbert
    Example: ragqa compare "what is shot-scraper?" -c default -m extractive -m gpt-4o-mini
    """
    from ragqa.cli import show_side_by_side
    from ragqa.operations.compare import ask_all

    names = config or ["fts", "dense", "default"]
    with ExitStack() as stack:
        pipelines = stack.enter_context(open_pipelines(list(dict.fromkeys(names)), db, device, where))
        own: list[str | None] = [None] if answers else []
        compared = ask_all(pipelines, question, k, model or own)
    if json:
        show.print_json(forms.comparison_json(compared))
    else:
        show_side_by_side.print_comparison(compared)


def _finish(answer: Answer, explanation: Explanation | None, json: bool) -> None:
    """Print what follows an answer that was printed as it came; as JSON, all of it."""
    if json:
        form = forms.answer_json(answer)
        if explanation is not None:
            form["explanation"] = forms.explanation_json(explanation)
        show.print_json(form)
        return
    show_answer.print_after(answer)
    if explanation is not None:
        from ragqa.cli import show_explanation

        print()
        show_explanation.print_explanation(explanation)


def _print_found(result: SearchResult) -> None:
    """Print what a model that failed would have answered from, after what it may have said."""
    if result.hits:
        print("\nFound")
        show.print_hits(result.hits)
        # Before what is said of the failure on stderr.
        sys.stdout.flush()


@contextmanager
def open_pipeline(
    config: str,
    db: Path | None,
    device: str | None,
    where: Sequence[str] | None = None,
    note: Callable[[str], None] = show.note,
    **others: Any,
) -> Iterator[Pipeline]:
    """Open the corpus and the stages of a config; what is given replaces what it says."""
    from ragqa.config import load_config
    from ragqa.pipeline import Pipeline
    from ragqa.search.one import open_corpus
    from ragqa.where import join_where

    loaded = load_config(config)
    values = {"device": device, "where": join_where(where) if where else None, **others}
    loaded = loaded.model_copy(update={key: value for key, value in values.items() if value is not None})
    with open_corpus(loaded, db) as corpus:
        yield Pipeline(loaded, corpus, note)


@contextmanager
def open_pipelines(
    configs: Sequence[str], db: Path | None, device: str | None, where: Sequence[str] | None = None
) -> Iterator[list[Pipeline]]:
    """Open several configs as `open_pipeline` does one; what all of them would say is said once."""
    said: set[str] = set()

    def note(text: str) -> None:
        if text not in said:
            said.add(text)
            show.note(text)

    with ExitStack() as stack:
        yield [stack.enter_context(open_pipeline(name, db, device, where, note)) for name in configs]
