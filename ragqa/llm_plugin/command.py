"""`llm rag`: the command line of `ragqa` itself, which is imported only when it is called."""

from __future__ import annotations

import click

# Whatever follows, --help and wrong options among it, is for ragqa to understand.
_ALL_OF_IT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("rag", add_help_option=False, context_settings=_ALL_OF_IT)
@click.argument("arguments", metavar="COMMAND [ARGS]...", nargs=-1, type=click.UNPROCESSED)
def rag(arguments: tuple[str, ...]) -> None:
    """Ask questions of your own documents (ragqa)."""
    from ragqa.cli.app import app
    from ragqa.cli.run import run

    run(lambda: app(list(arguments), prog_name="llm rag"))
