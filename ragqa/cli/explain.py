"""The command that shows why passages were found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli import completion, show
from ragqa.cli.options import ConfigName, Db, Device, Json, NoPager, Passages, Question, Where
from ragqa.cli.paging import paged
from ragqa.cli.question import open_pipeline
from ragqa.service import forms


def explain(
    question: Question,
    config: ConfigName = "default",
    k: Passages = 3,
    document: Annotated[
        str | None,
        typer.Option(
            "--document",
            metavar="ID",
            autocompletion=completion.documents,
            help="Explain this document's passages, found or not.",
        ),
    ] = None,
    where: Where = None,
    db: Db = None,
    device: Device = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to look around in, instead.")
    ] = None,
    no_pager: NoPager = False,
    json: Json = False,
) -> None:
    """Show which words matched the question, and which stage moved a passage where.

    Words are shaded by how well they match a word of the question; a table says what each of these was worth
    to each stage. What is longer than the screen goes through a pager on a terminal.

    Example: ragqa explain "how do I make a gif loop forever?"
    Example: ragqa explain "how do I make a gif loop forever?" --document gifs.md
    Example: ragqa explain "how do I make a gif loop forever?" --html loop.html
    """
    from ragqa.cli import show_explanation
    from ragqa.explain.explanation import explain as explain_question

    with open_pipeline(config, db, device, where) as pipeline:
        explanation = explain_question(pipeline, question, k, document)
    if html is not None:
        from ragqa.explain.page import write_page

        write_page(explanation, html)
        show.note(f"Written: {html}")
    if json:
        show.print_json(forms.explanation_json(explanation))
    elif not explanation.hits:
        show.note("No passage matches.")
    elif html is None:
        with paged(not no_pager):
            show_explanation.print_explanation(explanation)
