"""The command that takes a corpus to where many machines can search it."""

from __future__ import annotations

from typing import Annotated

import typer

from ragqa.cli import show
from ragqa.cli.options import ConfigName, Db, Device, Json
from ragqa.cli.question import open_pipeline


def push(
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="A folder, or an address such as s3://bucket/notes; else as the config says.",
        ),
    ] = "",
    config: ConfigName = "default",
    multivector: Annotated[
        bool, typer.Option("--multivector", help="Push token vectors so that they can be searched as well.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Replace a dataset that holds other vectors or another chunking.")
    ] = False,
    db: Db = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Bring a Lance dataset to what the corpus holds.

    Passages, metadata and the vectors that a config searches go there; only what is new or changed, and what
    is gone is deleted. Readers see it when all of it is there. The config lancedb then searches it without
    the corpus, from any number of processes; RAGQA_LANCE or a config's own uri says where it is.
    Keys and endpoints of object stores come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL).

    Example: ragqa push
    Example: ragqa push --to s3://bucket/notes --multivector
    """
    from ragqa.files import default_corpus
    from ragqa.operations.push import push as bring

    with (
        open_pipeline(config, db or default_corpus(), device) as pipeline,
        show.progress("Pushing") as advance,
    ):
        report = bring(pipeline, to, multivector=multivector, anew=anew, on_passages=advance, on_rows=advance)
    if json:
        show.print_json(report.as_json())
        return
    show.say(
        f"{report.added:,} passages added, {report.deleted:,} deleted, {report.unchanged:,} unchanged: "
        f"version {report.version} of {report.uri}, in {report.seconds:.1f} s"
    )
