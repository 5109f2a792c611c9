"""`ragqa`: the Typer application and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from ragqa.cli import about, chat, corpus, evaluate, explain, question, stored
from ragqa.cli.options import PairsCommand
from ragqa.cli.run import run

CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="ragqa",
    help="Ask questions of your own documents, on your own machine.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
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

    Start with: ragqa ingest FOLDER, then ragqa index, then ragqa ask "QUESTION".
    """


app.command(rich_help_panel="Documents")(corpus.ingest)
app.command(rich_help_panel="Documents")(corpus.index)
app.command(rich_help_panel="Documents")(corpus.status)
app.command(rich_help_panel="Documents")(corpus.remove)
app.command(rich_help_panel="Questions")(question.search)
app.command(rich_help_panel="Questions")(question.context)
app.command(rich_help_panel="Questions", cls=PairsCommand)(question.ask)
app.command(rich_help_panel="Questions", cls=PairsCommand)(chat.chat)
app.command(rich_help_panel="Questions")(question.compare)
app.command(rich_help_panel="Questions")(explain.explain)
app.command(rich_help_panel="What there is")(about.configs)
app.command(rich_help_panel="What there is")(about.models)
app.command(rich_help_panel="What there is")(about.doctor)

evaluation = typer.Typer(
    name="eval",
    help="Measure and compare strategies and models over question sets.",
    no_args_is_help=True,
    context_settings=CONTEXT,
)
evaluation.command(rich_help_panel="Ask", cls=PairsCommand)(evaluate.run)
evaluation.command(rich_help_panel="Ask")(evaluate.check)
evaluation.command(rich_help_panel="Ask")(evaluate.tune)
evaluation.command("list", rich_help_panel="Look")(stored.list_runs)
evaluation.command("show", rich_help_panel="Look")(stored.show_run)
evaluation.command(rich_help_panel="Look")(stored.compare)
evaluation.command(rich_help_panel="Look")(stored.diff)
evaluation.command(rich_help_panel="Look")(stored.report)
evaluation.command(rich_help_panel="Look")(stored.export)
evaluation.command(rich_help_panel="Look")(stored.rejudge)
app.add_typer(evaluation, rich_help_panel="Questions")


def main() -> None:
    """Run the command line."""
    run(app)
