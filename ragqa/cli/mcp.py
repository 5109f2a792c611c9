"""The command that serves the corpus to other programs: mcp."""

from __future__ import annotations

import sys

from ragqa.cli import show
from ragqa.cli.options import ConfigName, Db
from ragqa.errors import missing_package


def mcp(config: ConfigName = "default", db: Db = None) -> None:
    """Let a program that speaks MCP search, ask and read the corpus, over stdin and stdout.

    Such programs start it themselves: give them this command with its options.

    Example: ragqa mcp --db notes.db
    """
    from ragqa.config import load_config

    load_config(config)
    try:
        from ragqa.mcp.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise missing_package("ragqa mcp", "mcp", "ragqa[mcp]") from error
    if sys.stdin.isatty():
        show.note("Waiting for MCP messages on stdin, as a program sends them. Ctrl-C ends it.")
    serve(db, config, show.note)
