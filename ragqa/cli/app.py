"""`ragqa`: the Typer application, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import sqlite3
import sys
from typing import Annotated

import typer

from ragqa.cli import about, corpus, question
from ragqa.cli.options import PairsCommand
from ragqa.errors import RagqaError

app = typer.Typer(
    name="ragqa",
    help="Ask questions of your own documents, on your own machine.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
app.command(rich_help_panel="What there is")(about.configs)
app.command(rich_help_panel="What there is")(about.models)
app.command(rich_help_panel="What there is")(about.doctor)


def main() -> None:
    """Run the command line and exit: 0 done, 1 it failed, 2 the request was wrong, 130 interrupted."""
    try:
        app()
    except (RagqaError, sqlite3.Error, MemoryError) as error:
        if "--debug" in sys.argv:
            raise
        sentence = str(error) if isinstance(error, RagqaError) else _say(error)
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, RagqaError) else 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _say(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "There is not enough memory for this."
    return f"The corpus file could not be used: {error}."
