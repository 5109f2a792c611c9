"""The command that serves a page and an API: serve."""

from __future__ import annotations

from typing import Annotated

import typer

from ragqa.cli import show
from ragqa.cli.options import Db, ModelName, Runs, config_option
from ragqa.errors import missing_package

NEEDED = ("fastapi", "uvicorn", "starlette")


def serve(
    config: Annotated[
        list[str] | None,
        config_option("A config to choose from; the first is the default. Can be repeated."),
    ] = None,
    model: ModelName = None,
    db: Db = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; others than this machine need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8100,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="RAGQA_TOKEN",
            show_envvar=False,
            help="Let in only who has it. Default: $RAGQA_TOKEN.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name of this server. Can be repeated."),
    ] = None,
    rate: Annotated[
        int, typer.Option("--rate", min=1, help="How many requests a minute each address may send.")
    ] = 240,
    runs: Runs = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page to ask questions on, and a JSON API. What is asked is logged nowhere.

    Example: ragqa serve --db notes.db --open
    """
    try:
        from ragqa.web.app import Settings
        from ragqa.web.server import CONFIGS, Serving
        from ragqa.web.server import serve as run_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise missing_package("ragqa serve", str(error.name), "ragqa[web]") from error
    settings = Settings(host, tuple(allow_host or ()), token or None, rate, runs)
    run_server(Serving(db, config or CONFIGS, model, port, open_browser, settings), show.note)
