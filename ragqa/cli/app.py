"""`ragqa`: the Typer application and its commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ragqa.cli import (
    about,
    chat,
    completion,
    corpus,
    evaluate,
    explain,
    mcp,
    push,
    question,
    serve,
    stored,
    train,
)
from ragqa.cli.command import Command, Group
from ragqa.cli.options import PairsCommand
from ragqa.cli.run import run
from ragqa.cli.shell import VARIABLE

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="ragqa",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=Group,
    context_settings=CONTEXT,
)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=about.print_version, help="Print the version."),
    ] = False,
) -> None:
    """Ask questions of your own documents, on your own machine.

    Results go to stdout, notes and progress to stderr. `ragqa COMMAND --help` says more of each command;
    --install-completion lets Tab complete commands, configs, models, documents and runs.

    Example: ragqa ingest ~/notes
    Example: ragqa index
    Example: ragqa ask "what is shot-scraper?"
    """


app.command(rich_help_panel="Documents", cls=Command)(corpus.ingest)
app.command(rich_help_panel="Documents", cls=Command)(corpus.index)
app.command(rich_help_panel="Documents", cls=Command)(corpus.status)
app.command(rich_help_panel="Documents", cls=Command)(corpus.remove)
app.command(rich_help_panel="Documents", cls=Command)(push.push)
app.command(rich_help_panel="Documents", cls=Command)(train.train)
app.command(rich_help_panel="Questions", cls=Command)(question.search)
app.command(rich_help_panel="Questions", cls=Command)(question.context)
app.command(rich_help_panel="Questions", cls=PairsCommand)(question.ask)
app.command(rich_help_panel="Questions", cls=PairsCommand)(chat.chat)
app.command(rich_help_panel="Questions", cls=Command)(question.compare)
app.command(rich_help_panel="Questions", cls=Command)(explain.explain)
app.command(rich_help_panel="Questions", cls=Command)(mcp.mcp)
app.command(rich_help_panel="Questions", cls=Command)(serve.serve)
app.command(rich_help_panel="What there is", cls=Command)(about.configs)
app.command(rich_help_panel="What there is", cls=Command)(about.models)
app.command(rich_help_panel="What there is", cls=Command)(about.doctor)

evaluation = typer.Typer(
    name="eval",
    help="""Measure and compare strategies and models over question sets.

    Runs are kept in one file, with every ranking and answer, and can be compared at any time.

    Example: ragqa eval run questions.jsonl --retrieval-only
    Example: ragqa eval compare fts default
    """,
    no_args_is_help=True,
    context_settings=CONTEXT,
    rich_markup_mode=None,
    cls=Group,
)
evaluation.command(rich_help_panel="Ask", cls=PairsCommand)(evaluate.run)
evaluation.command(rich_help_panel="Ask", cls=Command)(evaluate.check)
evaluation.command(rich_help_panel="Ask", cls=Command)(evaluate.tune)
evaluation.command("list", rich_help_panel="Look", cls=Command)(stored.list_runs)
evaluation.command("show", rich_help_panel="Look", cls=Command)(stored.show_run)
evaluation.command(rich_help_panel="Look", cls=Command)(stored.compare)
evaluation.command(rich_help_panel="Look", cls=Command)(stored.diff)
evaluation.command(rich_help_panel="Look", cls=Command)(stored.report)
evaluation.command(rich_help_panel="Look", cls=Command)(stored.export)
evaluation.command(rich_help_panel="Look", cls=Command)(stored.rejudge)
app.add_typer(evaluation, rich_help_panel="Questions")


def main() -> None:
    """Run the command line, or answer the shell that wants to complete one."""
    if VARIABLE in os.environ:
        completion.complete(lambda: app(prog_name="ragqa"))
    run(lambda: app(prog_name="ragqa"))
